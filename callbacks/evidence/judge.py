"""The verdict on a run from the losses of fixed rows."""

from typing import Literal

from ...contracts.verdict import Label, Verdict
from .compared import Compared
from .facts import Facts, gather
from .looks import level
from .probe_series import ProbeSeries
from .remedies import remedies
from .settings import Reference, Settings
from .usable import unusable, usable
from .wording import evidence, missing, sentence

Finding = Literal[
    "healthy",
    "overfitting",
    "diverging",
    "underfitting",
    "behind",
    "nothing learned",
    "not carried over",
    "gain unclear",
    "loss unclear",
]
"""What was found, finer than the label: ``behind`` a reference, ``not carried over`` from training rows to others, and
two ways of having too few rows to tell."""

LABELS: dict[Finding, Label] = {
    "healthy": "healthy",
    "overfitting": "overfitting",
    "underfitting": "underfitting",
    "behind": "underfitting",
    "nothing learned": "underfitting",
}
"""All other findings are undecided."""

NOTHING = 0.05
"""A gain that is surely below this share of the loss is none."""

BEHIND = 0.10
"""So much of its loss a run may end above a reference other than its start. A probe on frozen features has had its
strength chosen on the same rows: runs that have learned all there is end up to 5 % above it, slow ones 30 %."""


def judge(series: ProbeSeries, settings: Settings | None = None, reference: Reference | None = None) -> Verdict:
    """Healthy, overfitting, underfitting or undecided, with what says so.

    Overfitting: the last weights lose more on validation rows than a checkpoint that those rows did not choose, beyond
    chance at ``alpha``; unless the training rows lose as well, which is divergence and not overfitting. Underfitting,
    at the end only: training and validation loss both still fall, and as much training again promises a material part
    of the gain so far; or the run does not beat its start, or ends well behind a probe. Healthy: the interval of what
    the last weights give away ends below what is worth mentioning. Undecided is all else.

    Args:
        series: at least one evaluation.
        settings: how to judge.
        reference: what training has to beat; the base counts by itself where the series knows its losses.
    """
    settings = settings or Settings()
    step = int(series.steps[-1])
    left = usable(series)
    why = unusable(series, left, settings.metric)
    if why is not None:
        return Verdict("undecided", f"Undecided: {why}.", settings.metric, step, None, None)
    facts = gather(left, settings, reference)
    finding = found(facts, len(series), series.planned, settings)
    stopped = settings.finished and settings.recipe.stopping and len(series) + 1 < series.planned
    began = int(facts.steps[facts.began]) if finding in ("overfitting", "diverging") else None
    return Verdict(
        label=LABELS.get(finding, "undecided"),
        sentence=sentence(finding, facts, settings),
        metric=settings.metric,
        step=step,
        began=began,
        cost=facts.given.estimate.value,
        evidence=evidence(facts, finding),
        remedies=remedies(finding, facts, settings.recipe, stopped),
        missing=missing(series, left, facts),
    )


def found(facts: Facts, look: int, planned: int, settings: Settings) -> Finding:
    """The decision alone."""
    alpha = level(settings.alpha, look, planned, settings.finished)
    if facts.given.rose and facts.given.estimate.p_above <= alpha:
        return "diverging" if diverges(facts, settings.alpha) else "overfitting"
    if settings.finished:
        late = short_of(facts, settings)
        if late is not None:
            return late
    if facts.given.estimate.interval(1 - 2 * settings.alpha)[1] > facts.worth:
        return "loss unclear"
    return "healthy"


def diverges(facts: Facts, alpha: float) -> bool:
    """The training rows lose as well, at least half as much as validation, the gap does not grow, and no row's loss
    tells whether it was trained on."""
    if facts.train_rise is None or facts.growth_since_best is None or facts.membership is None:
        return False
    loses = facts.train_rise.p_above <= alpha and 2 * facts.train_rise.value >= facts.loss - facts.lowest
    return loses and facts.growth_since_best.p_above > alpha and facts.membership.interval()[0] < 0.6


def short_of(facts: Facts, settings: Settings) -> Finding | None:
    """Whether more training, or stronger, is what the run wants."""
    over, start, alpha = facts.over_reference, facts.over_start, settings.alpha
    if over is not None and is_behind(over, facts, alpha):
        return "not carried over" if over.stays_with_train(alpha, facts.worth) else "behind"
    if promises_more(facts, settings):
        return "underfitting"
    if start is None or start.validation.p_below <= alpha:
        return None
    if start.stays_with_train(alpha, facts.worth):
        return "not carried over"
    most = -start.validation.interval(1 - 2 * alpha)[0]
    return "nothing learned" if most <= NOTHING * facts.loss else "gain unclear"


def is_behind(over: Compared, facts: Facts, alpha: float) -> bool:
    """Surely worse than the reference by what is worth mentioning, and than one that is not the start by ``BEHIND``."""
    if over.validation.interval(1 - 2 * alpha)[0] <= facts.worth:
        return False
    return over is facts.over_start or facts.loss > (1 + BEHIND) * (facts.loss - over.validation.value)


def promises_more(facts: Facts, settings: Settings) -> bool:
    """Both losses still fall, and as much training again promises enough to matter."""
    ahead = facts.progress
    if ahead is None or not ahead.still_falls(settings.alpha):
        return False
    of_loss = ahead.promised / max(facts.loss, ahead.promised)  # no loss falls below 0
    return (ahead.share * of_loss) ** 0.5 >= settings.promise
