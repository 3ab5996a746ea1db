from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from finelab.callbacks.evidence import wording
from finelab.callbacks.evidence.estimate import Estimate
from finelab.callbacks.evidence.judge import judge
from finelab.callbacks.evidence.recipe import Recipe
from finelab.callbacks.evidence.settings import Reference, Settings

TIME = np.linspace(0.05, 1, 20)
FALL = 0.3 + 1.2 * np.exp(-8 * TIME)
RISE = FALL + 0.4 * np.maximum(TIME - 0.4, 0)


def value(verdict, name: str) -> float:
    return next(each.value for each in verdict.evidence if each.name == name)


def test_a_rise_with_memorization_is_overfitting(series) -> None:
    verdict = judge(series(RISE, FALL - 0.25 * TIME), Settings(kept=400))
    assert verdict.label == "overfitting"
    assert verdict.began is not None and 400 <= verdict.began <= 600
    assert verdict.cost == pytest.approx(RISE[-1] - RISE.min(), abs=0.05)
    assert verdict.step == 1000
    for said in (
        "Overfitting since step",
        "give away",
        "membership AUC",
        "Accuracy fell",
        "step 400",
        "per supervised",
    ):
        assert said in verdict.sentence
    assert value(verdict, "membership AUC") > 0.6
    assert all(each.low <= each.value <= each.high for each in verdict.evidence if each.low is not None)


def test_without_a_train_probe_the_paired_test_still_speaks(series) -> None:
    verdict = judge(series(RISE))
    assert verdict.label == "overfitting"
    assert verdict.missing["membership AUC"] == "there is no train probe"
    assert "AUC" not in verdict.sentence


def test_training_rows_that_lose_as_well_are_divergence(series) -> None:
    verdict = judge(series(RISE, RISE), Settings(recipe=Recipe(rate=3e-3)))
    assert verdict.label == "undecided"
    assert "diverged" in verdict.sentence
    assert [remedy.override for remedy in verdict.remedies] == ["--model.optimizer.init_args.lr=0.001"]


def test_a_curve_that_has_come_to_rest_is_healthy(series) -> None:
    verdict = judge(series(FALL, FALL - 0.02, rows=2000))
    assert verdict.label == "healthy"
    assert verdict.began is None and not verdict.remedies
    assert "at most" in verdict.sentence


def test_few_rows_cannot_tell(series) -> None:
    verdict = judge(series(FALL, FALL, rows=16, wander=0.4))
    assert verdict.label == "undecided"
    assert "16 validation rows" in verdict.sentence and "cannot exclude" in verdict.sentence


def test_what_stays_with_the_training_rows(series) -> None:
    """Validation stands where the base stood while the training rows gain: neither healthy nor too little training."""
    flat = np.full(20, 0.6)
    curve = series(flat, 0.6 - 0.5 * TIME, rows=2000)
    base = {"train": curve.train.nll[0], "a": curve.a.nll[0], "b": curve.b.nll[0]}
    verdict = judge(replace(curve, base=base))
    assert verdict.label == "undecided" and "does not carry over" in verdict.sentence
    assert verdict.remedies


def test_a_gain_that_few_rows_cannot_show(series) -> None:
    flat = np.full(20, 0.6)
    verdict = judge(series(flat, flat, rows=60), reference=Reference("majority class", 0.95, 0.95))
    assert verdict.label == "undecided" and "cannot say whether anything was gained" in verdict.sentence


@pytest.mark.parametrize("part", [0.1, 0.05])
def test_a_part_of_the_way_is_underfitting(series, part: float) -> None:
    early = 0.3 + 1.2 * np.exp(-8 * part * TIME)
    verdict = judge(series(early, early - 0.01), Settings(recipe=Recipe(rate=1e-4, epochs=3)))
    assert verdict.label == "underfitting"
    assert "As much training again promises" in verdict.sentence
    assert [x.override for x in verdict.remedies] == ["--model.optimizer.init_args.lr=0.0003", "--trainer.max_epochs=9"]
    during = judge(series(early, early - 0.01), Settings(finished=False))
    assert during.label in ("healthy", "undecided"), "a run that goes on falls as it should"


def test_what_does_not_beat_its_reference_underfits(series) -> None:
    flat = np.full(20, 0.6)
    behind = judge(series(flat, flat, rows=2000), reference=Reference("frozen-feature probe", 0.5, start=1.1))
    assert behind.label == "underfitting" and "frozen-feature probe" in behind.sentence
    known = series(flat, flat, rows=2000)
    base = {name: getattr(known, name).nll[0] for name in ("train", "a", "b")}
    nothing = judge(replace(known, base=base))
    assert nothing.label == "underfitting" and "cannot be told from the base" in nothing.sentence
    better = {name: losses + 0.2 for name, losses in base.items()}
    assert judge(replace(known, base=better)).label == "healthy"


@pytest.mark.parametrize("above", [-0.02, 0.0, 0.005, 0.02])
def test_level_with_the_probe_is_no_underfitting(series, above: float) -> None:
    """A converged run within 5 % of a frozen-feature probe that was chosen on the same rows, far below its start."""
    for seed in range(4):
        curve = series(FALL, FALL, rows=2000, seed=seed)
        loss = float(np.concatenate([curve.a.nll[-1], curve.b.nll[-1]]).mean())
        assert judge(curve, reference=Reference("frozen-feature probe", loss - above, 1.8)).label == "healthy"
    behind = judge(curve, reference=Reference("frozen-feature probe", loss / 1.4, 1.8))
    assert behind.label == "underfitting" and "worse than the frozen-feature probe" in behind.sentence


def test_what_stays_at_its_start_has_learned_nothing(series) -> None:
    """Whatever a probe reaches: level with both, and with the start alone."""
    flat = np.full(20, 0.6)
    for probe in (0.9, 0.5):
        verdict = judge(series(flat, flat, rows=2000), reference=Reference("frozen-feature probe", probe, start=0.9))
        assert verdict.label == "underfitting", verdict.sentence
    assert "cannot be told from" in judge(series(flat, flat, rows=2000), reference=Reference("x", 0.88, 0.9)).sentence


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["train", "a", "b"])
def test_an_evaluation_that_is_no_number_does_not_count(series, bad: float, where: str) -> None:
    curve = series(RISE, FALL - 0.25 * TIME)
    nll = getattr(curve, where).nll.copy()
    nll[7, 3] = bad
    spoiled = replace(curve, **{where: replace(getattr(curve, where), nll=nll)})
    verdict = judge(spoiled)
    assert verdict.label == "overfitting" and verdict.cost == pytest.approx(judge(curve).cost, abs=0.02)
    assert "step 400" in verdict.missing["evaluations"]
    numbers = [verdict.cost, *(x for each in verdict.evidence for x in (each.value, each.low, each.high))]
    assert np.isfinite([x for x in numbers if x is not None]).all()
    nll[-1, 5] = bad
    last = judge(spoiled)
    assert (last.label, last.cost, last.evidence) == ("undecided", None, [])
    assert "step 1,000 a probed row has a loss that is no finite number" in last.sentence
    only = judge(spoiled.until(8))
    assert only.label == "undecided" and "no finite number" in only.sentence


def test_a_base_that_is_no_number_is_not_known(series) -> None:
    curve = series(RISE, FALL - 0.25 * TIME)
    base = {name: getattr(curve, name).nll[0].copy() for name in ("train", "a", "b")}
    base["a"][0] = np.nan
    verdict = judge(replace(curve, base=base))
    assert verdict.label == "overfitting" and "base" in verdict.missing["membership AUC over base"]


@pytest.mark.parametrize("rows", [(1, 0), (1, 1), (4, 3), (50, 0), (50, 3)], ids=str)
def test_too_few_rows_are_undecided(series, rows: tuple[int, int]) -> None:
    """No half without rows is divided by, and two rows are no certainty."""
    curve = series([1.0, 0.5, 0.9], [1.0, 0.5, 0.3])

    def first(of, count: int):
        return replace(of, nll=of.nll[:, :count], tokens=of.tokens[:count], right=None, groups=of.groups[:count])

    verdict = judge(replace(curve, a=first(curve.a, rows[0]), b=first(curve.b, rows[1])))
    assert verdict.label == "undecided" and "fewer than 8 validation rows" in verdict.sentence
    assert f"there are {rows[0]} and {rows[1]}" in verdict.sentence
    few = judge(replace(curve, train=first(curve.train, 2)))
    assert few.label == "overfitting" and few.missing["gap"] == "the train probe has too few rows"


def test_rows_without_supervised_tokens_do_not_count(series) -> None:
    curve = series(RISE, FALL - 0.25 * TIME)
    base = {name: getattr(curve, name).nll[0] + 0.1 for name in ("train", "a", "b")}

    def padded(of):
        wider = np.concatenate([of.nll, np.zeros((20, 2))], 1)
        right = np.concatenate([of.right, np.zeros((20, 2))], 1)
        groups = np.concatenate([of.groups, of.groups.max() + 9_001 + np.arange(2)])
        return replace(of, nll=wider, tokens=np.concatenate([of.tokens, [0, 0]]), right=right, groups=groups)

    more = {name: padded(getattr(curve, name)) for name in ("train", "a", "b")}
    longer = {name: np.concatenate([values, [0.0, 0.0]]) for name, values in base.items()}
    assert judge(replace(curve, base=longer, **more)) == judge(replace(curve, base=base))


def test_two_evaluations_say_what_they_can(series) -> None:
    assert judge(series([0.5, 0.9], [0.5, 0.3])).label == "overfitting"
    fine = judge(series([0.55, 0.5], [0.55, 0.5]), reference=Reference("majority class", 2.0, 2.0))
    assert fine.label == "healthy" and "as far as 2 evaluations can tell" in fine.sentence
    one = judge(series([0.5], [0.5]))
    assert one.label == "undecided" and "there is one evaluation (step 50)" in one.sentence


def test_accuracy_can_be_what_is_judged(series) -> None:
    """The loss rises by over-confidence alone: fewer tokens are wrong than before."""
    curve = series(RISE, FALL - 0.25 * TIME)
    better = np.linspace(0.2, 0.8, 20)[:, None] > np.random.default_rng(0).random(200)
    right = replace(curve, a=replace(curve.a, right=better * 1.0), b=replace(curve.b, right=better * 1.0))
    by_loss = judge(right)
    assert by_loss.label == "overfitting" and "Accuracy still rose" in by_loss.sentence
    by_accuracy = judge(right, Settings(metric="accuracy"))
    assert by_accuracy.label != "overfitting" and by_accuracy.metric == "accuracy"
    bare = replace(curve, a=replace(curve.a, right=None))
    assert judge(bare, Settings(metric="accuracy")).label == "undecided"


def test_few_documents_are_said(series) -> None:
    curve = series(RISE, FALL)
    groups = np.arange(200) % 3
    told = replace(curve, a=replace(curve.a, groups=groups), b=replace(curve.b, groups=groups + 3))
    assert "Fewer than 8 documents" in judge(told).sentence
    assert "Fewer than 8 documents" not in judge(curve).sentence


def test_rows_of_one_document_count_as_one(series) -> None:
    """The same losses in eight documents: wider intervals."""
    curve = series(FALL, FALL)
    groups = np.arange(200) // 50
    told = replace(curve, a=replace(curve.a, groups=groups), b=replace(curve.b, groups=groups + 4))
    narrow, wide = judge(curve).evidence[0], judge(told).evidence[0]
    assert narrow.value == wide.value
    assert wide.high - wide.low != narrow.high - narrow.low


def test_during_a_run_the_looks_share_the_error(series) -> None:
    """A faint rise that the end may call is not called early."""
    faint = FALL + 0.06 * np.maximum(TIME - 0.4, 0)
    curve = series(faint, FALL - 0.25 * TIME, rows=800)
    assert judge(curve).label == "overfitting"
    assert judge(replace(curve, planned=40), Settings(finished=False)).label != "overfitting"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flat", "falling"])
def test_false_alarms(series, kind: str) -> None:
    curve = np.full(20, 0.5) if kind == "flat" else FALL
    labels = [judge(series(curve, curve - 0.02, rows=200, seed=seed)).label for seed in range(600)]
    assert labels.count("overfitting") / 600 <= 0.065


@pytest.mark.slow
def test_false_alarms_during_a_run_of_unknown_length(series) -> None:
    """Any of 12 looks at flat curves."""
    alarms, during = 0, Settings(finished=False)
    for seed in range(400):
        curve = replace(series(np.full(12, 0.5), rows=200, seed=seed), planned=0)
        alarms += any(judge(curve.until(t), during).label == "overfitting" for t in range(2, 13))
    assert alarms / 400 <= 0.05


@pytest.mark.slow
def test_hits(series) -> None:
    labels = [judge(series(RISE, FALL, rows=400, seed=seed)).label for seed in range(200)]
    assert labels.count("overfitting") / 200 >= 0.98


def test_one_judgement_is_quick(series) -> None:
    import time

    curve = series(np.tile(RISE, 15), np.tile(FALL, 15), rows=500)
    judge(curve)
    start = time.perf_counter()
    judge(curve)
    assert time.perf_counter() - start < 0.5


def test_nothing_left_to_lose(series) -> None:
    """An error rate that reaches zero is no division by it."""
    curve = series(FALL, FALL)
    right = np.repeat(np.linspace(0.5, 1, 20)[:, None] ** 0.1, 200, 1)
    done = replace(curve, a=replace(curve.a, right=right), b=replace(curve.b, right=right))
    assert judge(done, Settings(metric="accuracy")).label in ("healthy", "underfitting")


@pytest.mark.parametrize(
    ("finding", "first"),
    [("underfitting", "slope of validation"), ("behind", "over the reference"), ("overfitting", "given away")],
)
def test_the_numbers_that_decide_stand_first(finding, first, monkeypatch) -> None:
    names = ("given away", "gap", "slope of validation", "slope of training rows", "over the reference")
    one = Estimate(0.1, 0.01, 9, 10)
    monkeypatch.setattr(wording, "_measured", lambda facts: [(name, one, "") for name in names])
    facts = SimpleNamespace(worth=0.01)
    found = [each.name for each in wording.evidence(facts, finding)]
    assert found[0] == first and sorted(found) == sorted((*names, "worth mentioning"))
