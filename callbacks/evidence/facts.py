"""Everything that is measured before anything is decided."""

from dataclasses import dataclass

import numpy as np

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
        accuracy: change of the share of right tokens since the best evaluation; None where nothing is right or wrong.
        right: that share for the last weights.
        over_reference: loss of the last weights less that of what they have to beat; None where there is nothing.
        train_over_reference: the same of the train probe, against its own rows under the base where these are known.
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
    over_reference: Estimate | None
    train_over_reference: Estimate | None
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
        over_reference=_over(both, _base(series, settings.metric, "a", "b"), reference),
        train_over_reference=None
        if train is None
        else _over(train, _base(series, settings.metric, "train"), reference),
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
    train, a, b = (
        (each.nll[-1] - (series.base[name] if calibrated else 0.0)) / each.tokens
        for name, each in (("train", series.train), ("a", series.a), ("b", series.b))
    )
    return membership_auc(train, np.concatenate([a, b]))


def _start(series: ProbeSeries, metric: str, reference: Reference | None) -> float | None:
    base = _base(series, metric, "a", "b")
    if base is not None:
        return float(base.sum() / (series.a.tokens.sum() + series.b.tokens.sum()))
    return reference.start if reference else None


def _base(series: ProbeSeries, metric: str, *names: str) -> np.ndarray | None:
    known = metric == "nll" and series.base.keys() >= set(names)
    return np.concatenate([series.base[name] for name in names]) if known else None


def _over(half: Half, base: np.ndarray | None, reference: Reference | None) -> Estimate | None:
    """Paired with the base where its rows are known; else against a number, whose own error is not counted."""
    if base is not None:
        return Half(np.stack([base, half.losses[-1]]), half.tokens, half.units).rise(1, 0)
    if reference is None:
        return None
    own = half.at(len(half.losses) - 1)
    return Estimate(own.value - reference.loss, own.error, own.freedom, own.units)


def _accuracy(
    series: ProbeSeries, units_a: np.ndarray, units_b: np.ndarray, best: int
) -> tuple[Estimate | None, float | None]:
    if series.a.right is None or series.b.right is None:
        return None, None
    wrong = Half.of(series.a, units_a, "accuracy") + Half.of(series.b, units_b, "accuracy")
    return -wrong.rise(len(series) - 1, best), 1.0 - float(wrong.mean[-1])


def _all(series: ProbeSeries) -> ProbeSet:
    join = np.concatenate
    a, b = series.a, series.b
    return ProbeSet(join([a.nll, b.nll], 1), join([a.tokens, b.tokens]), None, join([a.groups, b.groups]))
