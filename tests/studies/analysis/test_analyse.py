"""A study from finished cells to what may be said."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from finelab.studies.analysis.analyse import analyse

from ..made_up import MadeUp, a_study, a_trail, arms_of, planted

SKILLS = {"none": 0.0, "rdrop": 0.8, "smart": 0.05, "bad": -0.8}


def of(made: MadeUp):
    return analyse(made.plan, made.results, made.unfinished)


def test_planted_effects_are_found_and_the_numbers_are_scipys(tmp_path) -> None:
    made = planted(tmp_path, SKILLS, replicates=5, seed=5)
    found = of(made)
    by_arm = {contrast.arm: contrast for contrast in found.contrasts}
    assert {arm: each.conclusion for arm, each in by_arm.items()} == {
        "rdrop": "better", "smart": "undecided", "bad": "worse"}  # fmt: skip
    values = {row.name: [point.value for point in row.points["test/accuracy"]] for row in found.arms}
    raw = []
    for arm, contrast in by_arm.items():
        d = np.subtract(values[arm], values["none"])
        assert [point.value for point in contrast.pairs] == pytest.approx(d.tolist())
        test = stats.ttest_rel(values[arm], values["none"])
        interval = test.confidence_interval()
        assert contrast.difference is not None and contrast.p == pytest.approx(test.pvalue)
        assert (contrast.difference.low, contrast.difference.high) == pytest.approx((interval.low, interval.high))
        assert contrast.effect == pytest.approx(d.mean() / d.std(ddof=1))
        assert contrast.items is not None and contrast.items.value == pytest.approx(d.mean())
        assert list(contrast.items_by_seed) == list("12345") and contrast.two_way is not None
        raw.append(test.pvalue)
    order = np.argsort(raw)
    stepped = np.maximum.accumulate(np.minimum(1, np.array(raw)[order] * [3, 2, 1]))
    assert [list(by_arm.values())[i].p_adjusted for i in order] == pytest.approx(stepped.tolist())
    for row in found.arms:
        low, high = stats.t.interval(0.95, 4, np.mean(values[row.name]), stats.sem(values[row.name]))
        estimate = row.scores["test/accuracy"]
        assert (estimate.low, estimate.high, estimate.n) == (pytest.approx(low), pytest.approx(high), 5)
    assert [row.name for row in found.arms if row.bold] == ["rdrop"]
    assert [row.name for row in found.arms if row.baseline] == ["none"]
    assert found.complete and [text[:46] for text in found.caveats] == [
        "Whoever picks the best of 4 arms by these scor"
    ]
    assert found.correction.startswith("paired t, Holm over 3")
    assert found.match.endswith("; each finished run took 40 optimizer steps")
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_ten_seeds_are_corrected_by_sign_flips_of_whole_seeds(tmp_path) -> None:
    found = of(planted(tmp_path, SKILLS, replicates=10, seed=10, margin=0.05))
    assert found.correction.startswith("sign flips, max-T over 3")
    assert [contrast.conclusion for contrast in found.contrasts] == ["better", "equivalent", "worse"]
    assert found.contrasts[0].p_adjusted == pytest.approx(2**-9)


@pytest.mark.parametrize("replicates", [1, 2])
def test_one_or_two_seeds_claim_nothing(replicates: int, tmp_path) -> None:
    found = of(planted(tmp_path, {"none": -2.0, "a": 4.0, "b": 3.0}, replicates, margin=0.9))
    assert {contrast.conclusion for contrast in found.contrasts} == {"not powered"}
    assert all(contrast.p_adjusted is None or replicates > 1 for contrast in found.contrasts)
    assert "better" not in " ".join(found.verdict) and "not powered" in found.verdict[0].lower()
    assert found.contrasts[0].items is not None, "rows are shown all the same"


def test_three_seeds_claim_only_what_is_huge(tmp_path) -> None:
    made = MadeUp(a_study(tmp_path, ["none", "a", "b"], 3), arms_of(["none", "a", "b"]))
    for arm, values in {"none": [0.5, 0.5, 0.5], "a": [0.7001, 0.7, 0.6999], "b": [0.53, 0.55, 0.54]}.items():
        for replicate, value in enumerate(values):
            made.finish(made.cell(arm, replicate), {"accuracy": value})
    a, b = of(made).contrasts
    assert (a.conclusion, b.conclusion) == ("better", "not powered")
    assert b.p_adjusted is not None and b.p_adjusted < 0.05, "significant, but no effect that three seeds can carry"


def test_missing_and_failed_cells_are_shown_and_never_averaged(tmp_path) -> None:
    made = MadeUp(a_study(tmp_path, ["none", "a", "b"], 5), arms_of(["none", "a", "b"]))
    for replicate in range(5):
        made.finish(made.cell("none", replicate), {"accuracy": 0.5 + 0.01 * replicate})
        cell = made.cell("a", replicate)
        if replicate == 2:
            made.fail(cell)
        else:
            made.finish(cell, {"accuracy": 0.6 + 0.012 * replicate})
        made.fail(made.cell("b", replicate), "memory", "out of memory")
    found = of(made)
    a, b = found.contrasts
    assert [point.replicate for point in a.pairs] == ["1", "2", "4", "5"]
    assert (
        a.unpaired == {"3": "the arm has no result"} and "Pairs left out: the arm has no result (seeds 3)" in a.sentence
    )
    assert b.conclusion == "missing" and b.difference is None and b.p_adjusted is None
    assert a.p is not None and a.p_adjusted == pytest.approx(min(1, 2 * a.p)), "what failed is still of the family"
    assert not found.complete and found.verdict[0].startswith("Not complete: 9 of 15 reported cells are done (60 %)")
    assert "Diverged: a (1 cell)" in found.caveats[0] and "b (5 cells: memory)" in found.caveats[1]
    row = next(row for row in found.arms if row.name == "b")
    assert (row.done, row.planned, row.scores, row.bold) == (0, 5, {}, False)


def test_runs_of_another_order_are_refused_unless_a_setting_says_why(tmp_path) -> None:
    made = MadeUp(a_study(tmp_path, ["none", "odd", "large"], 5), arms_of(["none", "odd", "large"]))
    for replicate in range(5):
        made.finish(made.cell("none", replicate), {"accuracy": 0.5 + 0.01 * replicate})
        odd, large = made.cell("odd", replicate), made.cell("large", replicate, batch_size=16)
        made.finish(odd, {"accuracy": 0.7 + 0.012 * replicate}, trail=a_trail(odd.seeds, other=1))
        made.finish(large, {"accuracy": 0.7 + 0.012 * replicate}, trail=a_trail(large.seeds, other=2))
    odd, large = of(made).contrasts
    assert odd.conclusion == "not paired" and not odd.pairs and odd.p is None
    assert "the order of their rows parts at step 1, and no setting" in odd.sentence
    assert large.conclusion == "better" and len(large.pairs) == 5
    assert large.pairing == "paired by seed, not by data order, since data.batch_size differs"
    assert large.pairing in large.sentence


@pytest.mark.parametrize("levels", [["none"], ["none", "a"]], ids=["one arm", "all failed"])
def test_nothing_to_compare(levels: list[str], tmp_path) -> None:
    made = MadeUp(a_study(tmp_path, levels, 3), arms_of(levels))
    for arm in levels:
        for replicate in range(3):
            cell = made.cell(arm, replicate)
            if len(levels) == 1:
                made.finish(cell, {"accuracy": 0.5})
            else:
                made.fail(cell)
    found = of(made)
    assert [contrast.conclusion for contrast in found.contrasts] == ["missing"] * (len(levels) - 1)
    assert not any(row.bold for row in found.arms)
    if len(levels) == 1:
        assert found.verdict == ["There is nothing to compare: the study has one arm, or no arm has a reference."]


def test_ties_and_a_constant_metric(tmp_path) -> None:
    made = MadeUp(a_study(tmp_path, ["none", "same", "up"], 6), arms_of(["none", "same", "up"]))
    for replicate in range(6):
        for arm, gain in {"none": 0.0, "same": 0.0, "up": 0.25}.items():
            made.finish(made.cell(arm, replicate), {"accuracy": 0.5 + gain})
    same, up = of(made).contrasts
    assert same.conclusion == "undecided" and "all 6 pairs are equal in accuracy" in same.sentence
    assert same.outperforms is not None and same.outperforms.value == 0.5
    assert up.p == pytest.approx(2**-5) and up.p_adjusted == pytest.approx(2**-4) and up.conclusion == "undecided"
    assert up.difference is not None and up.difference.low is None


def test_many_comparisons_that_show_nothing_are_counted_with_the_nearest(tmp_path) -> None:
    levels = ["none", "a", "b", "c", "d"]
    made = MadeUp(a_study(tmp_path, levels, 5), arms_of(levels))
    for arm in levels:
        for replicate in range(5):
            wobble = 0.01 * ((replicate * (2 + levels.index(arm))) % 5)
            made.finish(made.cell(arm, replicate), {"accuracy": 0.8 + wobble})
    found = analyse(made.plan, made.results, made.unfinished)
    nearest = min(found.contrasts, key=lambda contrast: contrast.p_adjusted or 1.0)
    said = next(text for text in found.verdict if text.startswith("No difference is shown in 4 comparisons"))
    assert f"of {nearest.arm} against none" in said and said.endswith("This is no evidence that there is none.")
