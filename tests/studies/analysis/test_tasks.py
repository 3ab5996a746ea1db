"""Arms over several data sets."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from finelab.contracts.seeds import Seeds
from finelab.studies.analysis.analyse import analyse
from finelab.studies.analysis.material import unfinished
from finelab.studies.statistics.several_tasks import stratified_sign_flip
from finelab.studies.study import Confirm, Factor, Level

from ..made_up import MadeUp, a_study, arms_of


def of(made: MadeUp):
    return analyse(made.plan, made.results, made.unfinished)


def test_several_tasks_are_put_on_their_own_scales(tmp_path) -> None:
    tasks = Factor("data", tuple(Level(name, {}, "study.yaml:1") for name in ("t1", "t2", "t3")))
    study = a_study(tmp_path, ["none", "a", "b"], 5, tasks="data")
    study = dataclasses.replace(study, factors=(*study.factors, tasks))
    made = MadeUp(study, arms_of(["none", "a", "b"]))
    rng = np.random.default_rng(3)
    for scale, task in ((0.01, "t1"), (0.1, "t2"), (1.0, "t3")):
        for replicate in range(5):
            luck = rng.normal()
            for arm, gain in (("none", 0.0), ("a", 2.0), ("b", 0.0)):
                value = scale * (1 + gain + luck + 0.5 * rng.normal())
                made.finish(made.cell(arm, replicate, task=task), {"accuracy": value})
    found = of(made)
    a, b = found.tasks
    values = {(row.name, p.task, p.replicate): p.value for row in found.arms for p in row.points["test/accuracy"]}
    scales = {task: np.std([v for (_, at, _), v in values.items() if at == task]) for task in ("t1", "t2", "t3")}
    of_seeds = [
        np.mean([(values["a", task, seed] - values["none", task, seed]) / scales[task] for task in scales])
        for seed in "12345"
    ]
    assert a.iqm.low is not None and a.iqm.low > 0
    p = float(stats.ttest_rel(of_seeds, np.zeros(5))[1])  # type: ignore[arg-type]
    assert a.p == pytest.approx(p) and p > 2**-14, "flips alone would say 2^-14"
    assert a.p_adjusted == pytest.approx(2 * p) and list(a.by_task) == ["t1", "t2", "t3"]
    assert "the paired t test of the seeds' means" in a.sentence
    assert a.sentence.startswith("Over 3 tasks a is better than none") and "better on 3 of 3 tasks" in a.sentence
    assert "no difference between b and none is shown" in b.sentence
    assert found.correction.startswith(
        "paired t, Holm over 6 comparisons, for each arm on each task, which is a secondary"
    )
    assert "; primary is each arm over all 3 tasks, Holm over the arms. Intervals" in found.correction
    assert len(found.contrasts) == 6 and {contrast.task for contrast in found.contrasts} == {"t1", "t2", "t3"}
    assert all(len(contrast.pairs) == 5 for contrast in found.contrasts)
    assert [row.name for row in found.arms if row.bold] == ["a"]
    assert found.arms[0].planned == 15 and found.arms[0].scores["test/accuracy"].n == 5
    assert found.contrasts[0].sentence.startswith("On t1: ")


def over_tasks(tmp_path, gains: list[float], **changes) -> MadeUp:
    """One arm on four tasks, with a gain of each seed that all tasks share, but for a little."""
    tasks = Factor("data", tuple(Level(f"t{i}", {}, "study.yaml:1") for i in range(4)))
    study = a_study(tmp_path, ["none", "a"], len(gains), tasks="data", **changes)
    made = MadeUp(dataclasses.replace(study, factors=(*study.factors, tasks)), arms_of(["none", "a"]))
    for replicate, gain in enumerate(gains):
        for number, task in enumerate(tasks.levels):
            little = 0.01 * ((replicate + number) % 3)
            for arm, value in (("none", little), ("a", gain + 2 * little)):
                made.finish(made.cell(arm, replicate, task=task.name), {"accuracy": value})
    return made


def test_luck_that_the_tasks_of_a_seed_share_is_no_evidence(tmp_path) -> None:
    gains = [1.2, 1.0, 0.1, 0.9, -0.3]
    (found,) = of(over_tasks(tmp_path, gains)).tasks
    assert stratified_sign_flip(np.tile(gains, (4, 1)).T) < 0.001, "flips of tasks alone would claim it"
    assert found.p is not None and found.p > 0.05 and "no difference between a and none is shown" in found.sentence


def test_the_claim_keeps_its_level_where_tasks_correlate(tmp_path) -> None:
    """Null studies of 5 seeds on 4 tasks whose differences correlate by 0.5."""
    from finelab.studies.statistics.paired import paired

    rng, flips, both = np.random.default_rng(0), 0, 0
    for _ in range(400):
        table = 0.5**0.5 * (rng.normal(size=(5, 1)) + rng.normal(size=(5, 4)))
        p = stratified_sign_flip(table), paired(table.mean(1)).p or 0.0
        flips, both = flips + (p[0] < 0.05), both + (max(p) < 0.05)
    assert flips > 60 and both <= stats.binom.ppf(0.999, 400, 0.05)


def test_four_seeds_on_several_tasks_claim_nothing(tmp_path) -> None:
    (found,) = of(over_tasks(tmp_path, [1.0, 1.1, 0.9, 1.2])).tasks
    assert found.p is not None and found.p < 0.05 and found.sentence.startswith("Not powered over 4 tasks")


def test_over_tasks_too_a_screening_alone_is_said_to_be_one_first(tmp_path) -> None:
    fresh = tuple(Seeds(seed, seed, seed) for seed in range(1001, 1006))
    made = over_tasks(tmp_path, [1.0, 1.1, 0.9, 1.2, 1.3], confirm=Confirm(1, fresh))
    made.unfinished.append(unfinished(made.cell("a", 0, task="t0", seeds=Seeds(77, 77, 77)), "pending"))
    said = of(made).verdict
    assert said[0].startswith("The confirmation on fresh seeds has not run yet") and "claims nothing yet" in said[0]
    assert said[1].startswith("Over 4 tasks a is better than none")
