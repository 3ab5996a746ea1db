"""The verdict on a run from the losses of fixed rows."""

from typing import Literal

from ...contracts.verdict import Label, Verdict
from .facts import Facts, gather
from .looks import level
from .probe_series import ProbeSeries
from .remedies import remedies
from .settings import Reference, Settings
from .wording import evidence, missing, sentence

Finding = Literal["healthy", "overfitting", "diverging", "underfitting", "behind", "nothing learned", "unclear"]
"""What was found, finer than the label: ``behind`` a reference, ``unclear`` for want of rows."""

LABELS: dict[Finding, Label] = {
    "healthy": "healthy",
    "overfitting": "overfitting",
    "diverging": "undecided",
    "underfitting": "underfitting",
    "behind": "underfitting",
    "nothing learned": "underfitting",
    "unclear": "undecided",
}


def judge(series: ProbeSeries, settings: Settings | None = None, reference: Reference | None = None) -> Verdict:
    """Healthy, overfitting, underfitting or undecided, with what says so.

    Overfitting: the last weights lose more on validation rows than a checkpoint that those rows did not choose, beyond
    chance at ``alpha``; unless the training rows lose as well, which is divergence and not overfitting. Underfitting,
    at the end only: training and validation loss both still fall, and as much training again promises a material part
    of the gain so far; or the run does not beat its base. Healthy: the interval of what the last weights give away
    ends below what is worth mentioning. Undecided is all else.

    Args:
        series: at least one evaluation.
        settings: how to judge.
        reference: what training has to beat; the base counts by itself where the series knows its losses.
    """
    settings = settings or Settings()
    step = int(series.steps[-1])
    if len(series) < 2:
        said = f"Undecided: there is one evaluation (step {step:,}), and it takes two to see a change."
        return Verdict("undecided", said, settings.metric, step, None, None, missing=missing(series, None))
    if settings.metric == "accuracy" and (series.a.right is None or series.b.right is None):
        said = "Undecided: these rows have no right and wrong answers; judge by nll."
        return Verdict("undecided", said, settings.metric, step, None, None, missing=missing(series, None))
    facts = gather(series, settings, reference)
    finding = found(facts, len(series), series.planned, settings)
    began = int(facts.steps[facts.began]) if finding in ("overfitting", "diverging") else None
    return Verdict(
        label=LABELS[finding],
        sentence=sentence(finding, facts, settings, reference),
        metric=settings.metric,
        step=step,
        began=began,
        cost=facts.given.estimate.value,
        evidence=evidence(facts, settings, reference),
        remedies=remedies(finding, facts, settings.recipe),
        missing=missing(series, facts),
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
        return "unclear"
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
    ahead, over = facts.progress, facts.over_reference
    if over is not None and over.interval(1 - 2 * settings.alpha)[0] > facts.worth:
        return "behind"
    if ahead is not None and ahead.still_falls(settings.alpha):
        material = ahead.promised >= facts.worth and ahead.share >= settings.share
        if material:
            return "underfitting"
    if over is not None and over.p_below > settings.alpha:
        return "nothing learned"
    return None
