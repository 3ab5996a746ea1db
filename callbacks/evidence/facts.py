"""Everything that is measured before anything is decided."""

from dataclasses import dataclass

import numpy as np

from .compared import Compared
from .contrast import few_documents, independent_units
from .estimate import Estimate
from .gap import gap, gap_growth
from .given_away import GivenAway, given_away
from .half import Half
from .membership import membership_auc
from .onset import onset
from .probe_series import ProbeSeries, ProbeSet
from .progress import Progress, progress
from .settings import Reference, Settings

LEAST, PART = 0.01, 0.02
"""A loss given away that would matter."""


@dataclass(frozen=True)
class Facts:
    """Of a series of at least two evaluations. Estimates are per supervised token.

    Args:
        steps: [T]
        best: the evaluation with the lowest loss over all validation rows.
        began: the evaluation from which on the loss stays above that.
        given: what the last weights give away.
        loss: the loss of the last weights on all validation rows.
        lowest: the loss at the best evaluation.
        worth: what is worth mentioning: 2 % of the lowest loss or of the gain, whichever is more, and at least 0.01.
        gap: of the last weights; None without train probe, as all of the next five.
        growth: of the gap, over the second half of the evaluations.
        growth_since_best: of the gap.
        train_rise: of the train probe since the best evaluation.
        membership: AUC of the last weights.
        calibrated: the same by loss less the base's loss; None also without base.
        progress: at the end; None where evaluations do not lie apart.
        accuracy: change of the share of right tokens since the best evaluation; None where nothing is right or wrong,
            and where the last is the best.
        right: that share for the last weights.
        over_reference: the last weights against what they have to beat; None where there is nothing.
        over_start: against what there was before the first step, and the same object where that is the reference.
        few_documents: rows count as units although they share documents.
    """

    steps: np.ndarray
    best: int
    began: int
    given: GivenAway
    loss: float
    lowest: float
    worth: float
    gap: Estimate | None
    growth: Estimate | None
    growth_since_best: Estimate | None
    train_rise: Estimate | None
    membership: Estimate | None
    calibrated: Estimate | None
    progress: Progress | None
    accuracy: Estimate | None
    right: float | None
    over_reference: Compared | None
    over_start: Compared | None
    few_documents: bool


def gather(series: ProbeSeries, settings: Settings, reference: Reference | None) -> Facts:
    """Measure everything on a series of at least two evaluations."""
    units_a, units_b = independent_units(series.a, series.b)
    a, b = Half.of(series.a, units_a, settings.metric), Half.of(series.b, units_b, settings.metric)
    both, train = a + b, _train(series, settings.metric)
    last = len(series) - 1
    best = int(np.argmin(both.mean))
    others = {} if train is None else _against_train(series, both, train, best)
    accuracy, right = _accuracy(series, units_a, units_b, best)
    over_reference, over_start = _compared(series, both, train, settings.metric, reference)
    ahead = progress(series.travelled, both, train, _start(series, settings.metric, reference))
    lowest = float(both.mean[best])
    gain = max(ahead.gain, 0.0) if ahead else 0.0
    return Facts(
        steps=series.steps,
        best=best,
        began=onset(both, best),
        given=given_away(a, b),
        loss=float(both.mean[last]),
        lowest=lowest,
        worth=max(LEAST, PART * lowest, PART * gain),
        gap=others.get("gap"),
        growth=others.get("growth"),
        growth_since_best=others.get("since"),
        train_rise=others.get("rise"),
        membership=_membership(series, calibrated=False),
        calibrated=_membership(series, calibrated=True),
        progress=ahead,
        accuracy=accuracy,
        right=right,
        over_reference=over_reference,
        over_start=over_start,
        few_documents=few_documents(_all(series)) or (series.train is not None and few_documents(series.train)),
    )


def _train(series: ProbeSeries, metric: str) -> Half | None:
    if series.train is None or (metric == "accuracy" and series.train.right is None):
        return None
    return Half.of(series.train, independent_units(series.train)[0], metric)


def _against_train(series: ProbeSeries, both: Half, train: Half, best: int) -> dict[str, Estimate]:
    last = len(series) - 1
    middle = min(int(np.searchsorted(series.steps, series.steps[last] / 2)), last - 1)
    return {
        "gap": gap(train, both, last),
        "growth": gap_growth(train, both, last, middle),
        "since": gap_growth(train, both, last, best),
        "rise": train.rise(last, best),
    }


def _membership(series: ProbeSeries, calibrated: bool) -> Estimate | None:
    if series.train is None or (calibrated and not series.base.keys() >= {"train", "a", "b"}):
        return None
    units_train, units = independent_units(series.train)[0], independent_units(series.a, series.b)
    train, a, b = (
        (each.nll[-1] - (series.base[name] if calibrated else 0.0)) / each.tokens
        for name, each in (("train", series.train), ("a", series.a), ("b", series.b))
    )
    return membership_auc(train, np.concatenate([a, b]), units_train, np.concatenate(units))


def _start(series: ProbeSeries, metric: str, reference: Reference | None) -> float | None:
    base = _base(series, metric, "a", "b")
    if base is not None:
        return float(base.sum() / (series.a.tokens.sum() + series.b.tokens.sum()))
    return reference.start if reference else None


def _base(series: ProbeSeries, metric: str, *names: str) -> np.ndarray | None:
    known = metric == "nll" and series.base.keys() >= set(names)
    return np.concatenate([series.base[name] for name in names]) if known else None


def _compared(
    series: ProbeSeries, both: Half, train: Half | None, metric: str, reference: Reference | None
) -> tuple[Compared | None, Compared | None]:
    """With the reference and with the start. Both are the base where the losses of its rows are known."""
    base, of_train = _base(series, metric, "a", "b"), _base(series, metric, "train")
    if base is not None:
        own = None if train is None or of_train is None else _over_rows(train, of_train)
        found = Compared("base", _over_rows(both, base), own)
        return found, found
    if reference is None:
        return None, None
    strongest = _over_number(reference.name, reference.loss, both, train)
    if reference.start is None or reference.start == reference.loss:
        return strongest, strongest if reference.start is not None else None
    return strongest, _over_number("start of training", reference.start, both, train)


def _over_rows(half: Half, base: np.ndarray) -> Estimate:
    """Paired by row."""
    return Half(np.stack([base, half.losses[-1]]), half.tokens, half.units).rise(1, 0)


def _over_number(name: str, loss: float, both: Half, train: Half | None) -> Compared:
    """The number's own error is not counted."""

    def less(half: Half) -> Estimate:
        own = half.at(len(half.losses) - 1)
        return Estimate(own.value - loss, own.error, own.freedom, own.units)

    return Compared(name, less(both), None if train is None else less(train))


def _accuracy(
    series: ProbeSeries, units_a: np.ndarray, units_b: np.ndarray, best: int
) -> tuple[Estimate | None, float | None]:
    if series.a.right is None or series.b.right is None:
        return None, None
    wrong = Half.of(series.a, units_a, "accuracy") + Half.of(series.b, units_b, "accuracy")
    last = len(series) - 1
    return (None if best == last else -wrong.rise(last, best)), 1.0 - float(wrong.mean[-1])


def _all(series: ProbeSeries) -> ProbeSet:
    join = np.concatenate
    a, b = series.a, series.b
    return ProbeSet(join([a.nll, b.nll], 1), join([a.tokens, b.tokens]), None, join([a.groups, b.groups]))
