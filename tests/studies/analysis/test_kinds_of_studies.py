"""Searches, confirmation, noise floor, several tasks, matrices, samples and caveats."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from finelab.contracts.record import SplitResult
from finelab.contracts.seeds import Seeds
from finelab.studies.analysis.analyse import analyse
from finelab.studies.analysis.caveats import expected_best_of_normal
from finelab.studies.analysis.material import unfinished
from finelab.studies.arm import Arm
from finelab.studies.study import Confirm, Dimension, Factor, Level, MetricSpec, Tune

from ..made_up import MadeUp, a_record, a_study, a_trail, arms_of, rows_of

LR = "model.optimizer.init_args.lr"


def of(made: MadeUp):
    return analyse(made.plan, made.results, made.unfinished)


def tuned(tmp_path, sampler: str = "grid") -> MadeUp:
    space = (Dimension(LR, times=(0.3, 3.0)),)
    seeds = (Seeds(901, 901, 901),)
    tune = Tune(space, 3, seeds, MetricSpec("accuracy", "validation", "max"), sampler)  # type: ignore[arg-type]
    made = MadeUp(a_study(tmp_path, ["none", "a"], 3, tune=tune), arms_of(["none", "a"]))
    for arm, best in (("none", 0), ("a", 2)):
        for trial, lr in enumerate((1.0, 0.3, 3.0)):
            cell = made.cell(arm, 0, "tune", trial, seeds=seeds[0], setting={LR: lr})
            if (arm, trial) == ("none", 1):
                made.fail(cell)
            else:
                made.finish(cell, {"accuracy": 0.9 if trial == best else 0.5}, test_read=False)
        for replicate in range(3):
            cell = made.cell(arm, replicate, setting={LR: (1.0, 0.3, 3.0)[best]})  # as a plan makes it: without a trial
            made.finish(cell, {"accuracy": 0.8 + 0.01 * replicate})
    return made


def test_the_whole_tuning_curve_is_kept(tmp_path) -> None:
    found = of(tuned(tmp_path))
    none, a = found.searches
    assert [(t.number, t.setting[LR], t.values, t.chosen) for t in none.trials] == [
        (0, 1.0, [0.9], True), (1, 0.3, [None], False), (2, 3.0, [0.5], False)]  # fmt: skip
    assert [t.chosen for t in a.trials] == [False, False, True] and a.expected == []
    assert "3 trials of model.optimizer.init_args.lr (grid)" in found.budget and "on seed 901" in found.budget
    assert found.budget.endswith("accuracy chose, and the test split was not read.")
    edge = next(text for text in found.caveats if "edge of its space" in text)
    assert "a (model.optimizer.init_args.lr)" in edge and "none (" not in edge and "With 3 trials" in edge
    assert [row.done for row in found.arms] == [3, 3], "tuning cells are no results"
    assert all(point.value >= 0.8 for row in found.arms for point in row.points["test/accuracy"])


def test_expected_best_of_random_search_only(tmp_path) -> None:
    a = of(tuned(tmp_path, "random")).searches[1]
    assert a.expected == pytest.approx([(0.9 + 0.5 + 0.5) / 3, (0.9 + 0.9 + 0.5) / 3, 0.9])


def test_equal_trials_point_nowhere(tmp_path) -> None:
    tune = Tune(
        (Dimension(LR, values=(0.3,)),), 2, (Seeds(901, 901, 901),), MetricSpec("accuracy", "validation", "max")
    )
    made = MadeUp(a_study(tmp_path, ["none"], 2, tune=tune), arms_of(["none"]))
    for trial, lr in enumerate((1.0, 0.3)):
        cell = made.cell("none", 0, "tune", trial, seeds=Seeds(901, 901, 901), setting={LR: lr})
        made.finish(cell, {"accuracy": 0.5}, test_read=False)
    made.finish(made.cell("none", 0, setting={LR: 1.0}), {"accuracy": 0.5})
    assert not any("edge" in text for text in of(made).caveats)


def test_a_search_that_read_the_test_split_is_said(tmp_path) -> None:
    made = tuned(tmp_path)
    cell = made.cell("a", 0, "tune", 3, seeds=Seeds(902, 902, 902), setting={LR: 2.0})
    made.finish(cell, {"accuracy": 0.5})
    assert any("1 tuning run read the test split" in text for text in of(made).caveats)
    assert of(made).budget.endswith("accuracy chose.")


def test_the_confirmation_alone_claims_and_is_never_pooled(tmp_path) -> None:
    fresh = tuple(Seeds(seed, seed, seed) for seed in range(1001, 1011))
    study = a_study(tmp_path, ["none", "lucky", "bad"], 5, confirm=Confirm(1, fresh))
    made = MadeUp(study, arms_of(["none", "lucky", "bad"]))
    rng = np.random.default_rng(0)
    for arm, gain in (("none", 0.0), ("lucky", 0.05), ("bad", -0.05)):
        for replicate in range(5):
            made.finish(made.cell(arm, replicate), {"accuracy": 0.8 + gain + 0.001 * rng.normal()})
    for arm in ("none", "lucky"):
        for replicate, seeds in enumerate(fresh):
            made.finish(made.cell(arm, replicate, "confirm", seeds=seeds), {"accuracy": 0.8 + 0.01 * rng.normal()})
    found = of(made)
    screened = [contrast for contrast in found.contrasts if contrast.stage == "report"]
    (confirmed,) = [contrast for contrast in found.contrasts if contrast.stage == "confirm"]
    assert [contrast.conclusion for contrast in screened] == ["better", "worse"]
    assert confirmed.conclusion == "undecided" and confirmed.arm == "lucky"
    assert [pair.replicate for pair in confirmed.pairs] == [str(seeds.data) for seeds in fresh]
    assert {pair.replicate for contrast in screened for pair in contrast.pairs} == set("12345")
    assert [row.done for row in found.arms] == [5, 5, 5]
    assert found.verdict[0].startswith("On fresh seeds: No difference between lucky and none is shown")
    assert all(text.startswith("Screening: ") for text in found.verdict[2:])
    assert "is no evidence, since the arms were picked by it" in found.verdict[1]


def test_a_family_of_confirmed_arms_is_corrected_by_itself(tmp_path) -> None:
    fresh = tuple(Seeds(seed, seed, seed) for seed in (1001, 1002, 1003, 1004))
    made = MadeUp(a_study(tmp_path, ["none", "a", "b"], 4, confirm=Confirm(1, fresh)), arms_of(["none", "a", "b"]))
    for stage, all_seeds in (("report", made.study.replicates), ("confirm", fresh)):
        for arm, gain in (("none", 0.0), ("a", 0.1), ("b", 0.01)):
            for replicate, seeds in enumerate(all_seeds):
                if (stage, arm) != ("confirm", "b"):
                    values = {"accuracy": 0.5 + gain + 0.01 * replicate + (0.003 * (replicate % 2) if gain else 0)}
                    made.finish(made.cell(arm, replicate, stage, seeds=seeds), values)
    a = next(contrast for contrast in of(made).contrasts if contrast.stage == "confirm")
    assert a.p == a.p_adjusted and "Holm" not in a.sentence and a.conclusion == "better"


def test_a_screening_alone_is_said_to_be_one(tmp_path) -> None:
    fresh = (Seeds(1001, 1001, 1001), Seeds(1002, 1002, 1002))
    made = MadeUp(a_study(tmp_path, ["none", "a"], 5, confirm=Confirm(1, fresh)), arms_of(["none", "a"]))
    for arm, gain in (("none", 0.0), ("a", 0.1)):
        for replicate in range(5):
            made.finish(made.cell(arm, replicate), {"accuracy": 0.5 + gain * (1 + 0.01 * replicate)})
    assert "nothing was confirmed on fresh seeds" in of(made).verdict[0]
    made.fail(made.cell("a", 0, "confirm", seeds=fresh[0]), "lost", "the node died")
    made.finish(made.cell("none", 0, "confirm", seeds=fresh[0]), {"accuracy": 0.5})
    found = of(made)
    assert found.verdict[0] == "The confirmation is not complete: 1 cell of it without a result."
    assert found.contrasts[-1].stage == "confirm" and found.contrasts[-1].conclusion == "missing"
    assert all("is better than" not in text or text.startswith("Screening: ") for text in found.verdict)


@pytest.mark.parametrize(("arms", "luck"), [(2, 0.56), (3, 0.84), (5, 1.16), (10, 1.54), (20, 1.87)])
def test_the_luck_of_the_best(arms: int, luck: float) -> None:
    assert expected_best_of_normal(arms) == pytest.approx(luck, abs=0.01)


def test_rows_that_may_be_other_texts_are_not_compared(tmp_path) -> None:
    levels = ["none", "sub", "other"]
    made = MadeUp(a_study(tmp_path, levels, 4), arms_of(levels))
    rng = np.random.default_rng(0)
    for arm, data in (("none", {}), ("sub", {"train_rows": 100}), ("other", {"source": "elsewhere"})):
        for replicate in range(4):
            columns = rows_of(rng, float(rng.normal()), np.zeros(40))
            cell = made.cell(arm, replicate, **data)
            own = {"data": {"fingerprint": "f2"}, "trail": a_trail(cell.seeds, other=1)} if data else {}
            made.finish(cell, {"accuracy": float(np.mean(columns["correct"]))}, columns, **own)
    sub, other = of(made).contrasts
    assert sub.items is not None and sub.pairs and other.pairs and other.items is None and not other.items_by_seed


def test_noise_floor(tmp_path) -> None:
    made = MadeUp(a_study(tmp_path, ["none", "a"], 3, noise=2), arms_of(["none", "a"]))
    rng = np.random.default_rng(0)
    columns = {i: rows_of(rng, 0.0, np.zeros(20)) for i in range(5)}

    def finish(cell, number: int) -> None:
        made.finish(cell, {"accuracy": float(np.mean(columns[number]["correct"]))}, columns[number])

    for replicate in range(3):
        finish(made.cell("none", replicate), replicate)
        finish(made.cell("a", replicate), replicate)
    for repeat in (1, 2):
        finish(made.cell("none", 0, "noise", repeat=repeat), 0)
        finish(made.cell("none", repeat - 1, "noise", seeds=Seeds(1900 + repeat, 1, 1)), 2 + repeat)
    found = of(made).noise
    assert found is not None and (found.arm, found.same_sd, found.identical) == ("none", 0.0, True)
    assert len(found.same) == 3 and len(set(found.same)) == 1
    expected = [float(np.mean(columns[i]["correct"])) for i in range(5)]
    assert sorted(found.others) == sorted(expected)
    assert found.others_sd == pytest.approx(np.std(expected, ddof=1))
    reach = stats.t.ppf(0.975, 4) * 2**0.5 * np.std(expected, ddof=1)  # 5 runs
    assert f"two more runs differ by up to about {reach:.3g} in 95 % of cases" in found.sentence
    assert "3 runs with the same seeds gave the same accuracy, and their rows agree bit for bit" in found.sentence
    again = made.cell("none", 0, "noise", repeat=3)
    finish(again, 1)
    changed = of(made).noise
    assert changed is not None and changed.identical is False and "standard deviation" in changed.sentence


def test_transfer(tmp_path) -> None:
    domains = ["grimm", "aesop"]
    factor = Factor("domain", tuple(Level(name, {}, "study.yaml:1") for name in domains))
    study = a_study(tmp_path, domains, 3, factors=(factor,), views={"transfer": "domain"}, baseline={"domain": "grimm"},
                    metric=MetricSpec("nll", "test", "min"))  # fmt: skip
    made = MadeUp(study, [Arm("grimm", {"domain": "grimm"}), Arm("aesop", {"domain": "aesop"})])
    for own, other in (("grimm", "aesop"), ("aesop", "grimm")):
        for replicate in range(3):
            cell = made.cell(own, replicate)
            metrics = {
                "test": SplitResult(10, {"base": {"nll": 2.0}}, {"nll": 1.0 + 0.1 * replicate}),
                f"test/{other}": SplitResult(10, {"base": {"nll": 2.0}}, {"nll": 1.9 if own == "grimm" else 2.5}),
            }
            made.finish(cell, {}, **{"metrics": metrics})
    (matrix,) = of(made).matrices
    assert matrix.rows == matrix.columns == domains and matrix.before == [2.0, 2.0]
    values = [[None if cell is None else round(cell.value, 2) for cell in line] for line in matrix.cells]
    assert values == [[1.1, 1.9], [2.5, 1.1]]
    assert "the best one there on 2 of 2 domains" in matrix.sentence
    assert "worse than the untouched base in 1 of 2 cases" in matrix.sentence


def test_samples_do_not_tell_the_arms_apart_by_their_place(tmp_path) -> None:
    made = MadeUp(a_study(tmp_path, ["none", "a", "b"], 1), arms_of(["none", "a", "b"]))
    prompts = [f"question {i}?" for i in range(3)]
    for arm in ("none", "a", "b"):
        texts = [{"prompt": p, "references": ["yes"], "base": None, "model": f"{arm} says"} for p in prompts]
        made.finish(made.cell(arm), {"accuracy": 0.5}, findings={"generation": {"samples": texts}})
    found = of(made).samples
    assert len(found) == 9 and {sample.arm for sample in found} == {"none", "a", "b"}
    orders = {tuple(sample.arm for sample in found[i : i + 3]) for i in (0, 3, 6)}
    assert len(orders) > 1, "another order for another question"
    assert found[0].parts["written"] == f"{found[0].arm} says" and found[0].parts["reference"] == "yes"


def test_caveats_of_unlike_runs(tmp_path) -> None:
    made = MadeUp(a_study(tmp_path, ["none", "slow", "long"], 2), arms_of(["none", "slow", "long"]))
    for arm in ("none", "slow", "long"):
        for replicate in range(2):
            cell = made.cell(arm, replicate)
            cost = a_record(cell, {}, 0).cost
            if arm == "slow":
                cost = dataclasses.replace(cost, training_seconds=2 * cost.training_seconds)
            changes: dict = {"cost": cost}
            if arm == "long":
                changes["cost"] = dataclasses.replace(cost, steps=45)
                changes["hardware"] = {"processor": "another", "cores": 8, "threads": 1}
            made.finish(cell, {"accuracy": 0.5}, **changes)
    assert analyse(made.plan, made.results, codes={"one", "two"}).provenance["finelab's source"] == "one; two"
    said = " ".join(analyse(made.plan, made.results, codes={"one", "two"}).caveats)
    assert "no placebo arm that spends it without the idea: slow (2 x)" in said
    assert "Training was not equally long: 40 to 45 optimizer steps." in said
    assert "2 kinds of hardware" in said and "2 versions of finelab's own source" in said
    assert "has no value per row in these runs" in said
    assert of(made).match == (
        "every arm was to take the same number of optimizer steps; finished runs took 40 to 45 optimizer steps"
    )


@pytest.mark.parametrize("edited", [False, True])
def test_data_edited_while_a_study_ran_are_told(edited, tmp_path) -> None:
    made = MadeUp(a_study(tmp_path, ["none"], 1), arms_of(["none"]))
    for repeat in (0, 1):
        cell = made.cell("none", 0, "noise" if repeat else "report", repeat=repeat)
        changes: dict = {"data": {"fingerprint": "other"}} if repeat and edited else {"data": {"fingerprint": "one"}}
        made.finish(cell, {"accuracy": 0.5}, **changes)
    assert any("edited while the study ran" in text for text in of(made).caveats) == edited


def test_a_placebo_is_compared_and_silences_the_caveat(tmp_path) -> None:
    levels = ["none", "rdrop", "rdrop placebo"]
    made = MadeUp(a_study(tmp_path, levels, 5), arms_of(levels, {"rdrop": "rdrop placebo"}))
    for arm in levels:
        for replicate in range(5):
            cell = made.cell(arm, replicate)
            cost = dataclasses.replace(a_record(cell, {}, 0).cost, training_seconds=10.0 if arm == "none" else 20.0)
            made.finish(cell, {"accuracy": 0.5 + 0.1 * levels.index(arm) * (1 + 0.01 * replicate)}, cost=cost)
    found = of(made)
    placebo = found.contrasts[-1]
    assert (placebo.kind, placebo.arm, placebo.reference) == ("placebo", "rdrop", "rdrop placebo")
    assert placebo.sentence.startswith("Against its placebo: rdrop is worse than rdrop placebo")
    assert "over 3" in found.correction and not any("placebo" in text for text in found.caveats)
    assert [row.placebo for row in found.arms] == [False, False, True]


def test_after_a_failure_the_screening_is_over_all_the_same(tmp_path) -> None:
    fresh = (Seeds(1001, 1001, 1001), Seeds(1002, 1002, 1002))
    made = MadeUp(a_study(tmp_path, ["none", "a"], 5, confirm=Confirm(1, fresh)), arms_of(["none", "a"]))
    for replicate in range(5):
        made.finish(made.cell("none", replicate), {"accuracy": 0.5 + 0.01 * replicate})
        cell = made.cell("a", replicate)
        if replicate:
            made.finish(cell, {"accuracy": 0.4 + 0.011 * replicate})
        else:
            made.fail(cell)
    said = " ".join(of(made).verdict)
    assert "so nothing was confirmed on fresh seeds" in said and "has not run yet" not in said
    made.unfinished.append(unfinished(made.cell("a", 0, seeds=Seeds(77, 77, 77)), "running"))
    assert "has not run yet" in " ".join(of(made).verdict)


def test_a_trial_that_diverged_is_no_seed_that_a_mean_misses(tmp_path) -> None:
    made = tuned(tmp_path)
    made.fail(made.cell("none", 0, "noise", repeat=1), "memory", "out of memory")
    said = of(made).caveats
    assert not any(text.startswith(("Diverged", "Failed")) for text in said)
    assert any(text.startswith("Trials of the search that failed: none (1 cell: nonfinite). Each counts as the worst")
               for text in said)  # fmt: skip
    assert "Reruns for the noise floor that failed: none (1 cell: memory)." in said
