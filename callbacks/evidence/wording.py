"""The verdict in words and numbers."""

import math

from ...contracts.verdict import Evidence
from .estimate import Estimate
from .facts import LEAST, Facts
from .probe_series import ProbeSeries
from .settings import Settings

UNITS = {"nll": "nats per supervised token", "accuracy": "of the supervised tokens"}
LOSSES = {"nll": "validation loss", "accuracy": "validation error"}

SLOPES, OVER = ("slope of validation", "slope of training rows"), ("over the reference", "over the start")
RESTS_ON = {
    "underfitting": SLOPES,
    "behind": OVER,
    "nothing learned": OVER,
    "not carried over": OVER,
    "gain unclear": OVER,
}
"""Finding -> the numbers that decide it, where it is not the loss given away."""


def sentence(finding: str, facts: Facts, settings: Settings) -> str:
    """One paragraph that states what was found and by which numbers."""
    said = {
        "overfitting": _overfitting,
        "diverging": _diverging,
        "underfitting": _underfitting,
        "behind": _behind,
        "nothing learned": _nothing_learned,
        "not carried over": _not_carried_over,
        "gain unclear": _gain_unclear,
        "loss unclear": _loss_unclear,
        "healthy": _healthy,
    }[finding](facts, settings)
    caution = " Fewer than 8 documents: rows count as independent, so the intervals may be too narrow."
    return said + (caution if facts.few_documents else "")


def _overfitting(facts: Facts, settings: Settings) -> str:
    loss = LOSSES[settings.metric]
    return (
        f"Overfitting since step {facts.steps[facts.began]:,}: {loss} was lowest at step {facts.steps[facts.best]:,} "
        f"({facts.lowest:.3f}), and the last weights give away {_ranged(facts.given.estimate, '.3f')} "
        f"{UNITS[settings.metric]}{_corroboration(facts)}.{_accuracy(facts, settings)}{_kept(settings)}"
    )


def _diverging(facts: Facts, settings: Settings) -> str:
    assert facts.train_rise is not None
    return (
        f"Undecided: the last weights give away {_ranged(facts.given.estimate, '.3f')} {UNITS[settings.metric]} since "
        f"step {facts.steps[facts.best]:,}, but the training rows lose {facts.train_rise.value:.3f} too and the gap "
        f"does not grow: training diverged, which is not overfitting.{_kept(settings)}"
    )


def _underfitting(facts: Facts, settings: Settings) -> str:
    ahead = facts.progress
    assert ahead is not None
    rows = "training and validation loss both" if ahead.train is not None else "validation loss"
    verb = "fall" if ahead.train is not None else "falls"
    so_far = (
        f"{ahead.share:.0%} of the {ahead.gain:.3f} gained so far" if ahead.gain > 0 else "and nothing is gained yet"
    )
    return (
        f"Underfitting: {rows} still {verb} at the end. As much training again promises up to "
        f"{_ranged(-ahead.validation, '.3f')} {UNITS[settings.metric]}, {so_far}."
    )


def _behind(facts: Facts, settings: Settings) -> str:
    over = facts.over_reference
    assert over is not None
    return (
        f"Underfitting: with a {LOSSES[settings.metric]} of {facts.loss:.3f} the last weights are "
        f"{_ranged(over.validation, '.3f')} {UNITS[settings.metric]} worse than the {over.name}."
    )


def _nothing_learned(facts: Facts, settings: Settings) -> str:
    start = facts.over_start
    assert start is not None
    return (
        f"Underfitting: the last weights cannot be told from the {start.name}; the {LOSSES[settings.metric]} "
        f"differs by {_ranged(start.validation, '+.3f')} {UNITS[settings.metric]}."
    )


def _not_carried_over(facts: Facts, settings: Settings) -> str:
    told = [each for each in (facts.over_reference, facts.over_start) if each is not None]
    over = next(each for each in told if each.stays_with_train(settings.alpha, facts.worth))
    assert over.train is not None
    return (
        f"Undecided: the training rows are {-over.train.value:.3f} {UNITS[settings.metric]} better than the "
        f"{over.name}, and validation is not ({_ranged(over.validation, '+.3f')}): what was learned does not carry "
        f"over{_corroboration(facts)}."
    )


def _gain_unclear(facts: Facts, settings: Settings) -> str:
    start = facts.over_start
    assert start is not None
    return (
        f"Undecided: the {LOSSES[settings.metric]} of the last weights differs from that of the {start.name} by "
        f"{_ranged(start.validation, '+.3f')} {UNITS[settings.metric]}: {start.validation.units:,} validation "
        "rows or documents cannot say whether anything was gained. More of them would decide it."
    )


def _loss_unclear(facts: Facts, settings: Settings) -> str:
    if facts.given.estimate.interval()[0] > facts.worth:
        return (
            f"Undecided: the last weights give away {_ranged(facts.given.estimate, '+.3f')} {UNITS[settings.metric]}, "
            f"which would be worth mentioning ({facts.worth:.3f}), but is not beyond chance at the level of this look, "
            "one of several that share the error. More validation rows would decide it."
        )
    return (
        f"Undecided: the last weights give away {_ranged(facts.given.estimate, '+.3f')} {UNITS[settings.metric]}; the "
        f"{facts.given.estimate.units:,} validation rows or documents cannot exclude a loss worth mentioning "
        f"({facts.worth:.3f}). More validation rows would decide it."
    )


def _healthy(facts: Facts, settings: Settings) -> str:
    few = f", as far as {len(facts.steps)} evaluations can tell" if len(facts.steps) < 3 else ""
    high = facts.given.estimate.interval(1 - 2 * settings.alpha)[1]
    return (
        f"Healthy{few}: the last weights give away at most {max(high, 0.0):.3f} {UNITS[settings.metric]} "
        f"({1 - settings.alpha:.0%} bound; {facts.worth:.3f} would matter){_corroboration(facts)}."
    )


def _corroboration(facts: Facts) -> str:
    parts = []
    if facts.membership is not None:
        parts.append(f"membership AUC {_ranged(facts.membership, '.2f')}")
    if facts.growth is not None:
        parts.append(f"the gap changed by {_ranged(facts.growth, '+.3f')} over the second half")
    return f"; {', '.join(parts)}" if parts else ""


def _accuracy(facts: Facts, settings: Settings) -> str:
    change = facts.accuracy
    if change is None or settings.metric != "nll":
        return ""
    low, high = change.interval()
    if high < 0:
        return f" Accuracy fell by {-change.value:.3f} as well, to {facts.right:.3f}."
    if low > 0:
        return (
            f" Accuracy still rose by {change.value:.3f}, to {facts.right:.3f}: the model grows over-confident, not "
            "worse at the task."
        )
    changed = f" Accuracy changed by {_ranged(change, '+.3f')}"
    if low > -LEAST:
        return f"{changed}, which leaves no room for a fall by {LEAST:g}: the loss is one of confidence."
    return f"{changed}: these rows cannot tell whether it fell too."


def _kept(settings: Settings) -> str:
    return f" The weights of step {settings.kept:,} are the ones that are kept." if settings.kept is not None else ""


def _ranged(estimate: Estimate, digits: str) -> str:
    low, high = estimate.interval()
    return f"{estimate.value:{digits}} [{low:{digits}}, {high:{digits}}]"


def evidence(facts: Facts, finding: str) -> list[Evidence]:
    """The numbers with their 95 % intervals, first those that the finding rests on."""
    found = [_evidence(name, one, says) for name, one, says in _measured(facts) if _is_finite(one)]
    found.sort(key=lambda one: one.name not in RESTS_ON.get(finding, ()))
    return [*found, Evidence("worth mentioning", facts.worth, None, None, "a smaller loss given away does not matter")]


def _measured(facts: Facts) -> list[tuple[str, Estimate, str]]:
    given, ahead = facts.given, facts.progress
    over, start = facts.over_reference, facts.over_start
    chosen = " and ".join(f"{facts.steps[at]:,}" for at in dict.fromkeys(given.chosen))
    listed: list[tuple[str, Estimate | None, str]] = [
        ("given away", given.estimate, f"loss of the last weights above those of step {chosen}, each chosen on the "
         "other half of validation"),
        ("membership AUC", facts.membership, "probability that a training row has a lower loss than a validation row"),
        ("membership AUC over base", facts.calibrated, "the same by the loss less the base's"),
        ("gap", facts.gap, "validation loss less that of the train probe, last weights"),
        ("gap growth", facts.growth, "change of the gap over the second half of the run"),
        ("accuracy change", facts.accuracy, f"since step {facts.steps[facts.best]:,}"),
        ("slope of validation", ahead.validation if ahead else None,
         "change of the loss per doubling of the travelled learning rate, at the end"),
        ("slope of training rows", ahead.train if ahead else None, "the same of the train probe"),
        ("over the reference", over.validation if over else None,
         f"loss of the last weights less that of the {over.name if over else ''}"),
        ("over the start", start.validation if start and start is not over else None,
         "loss of the last weights less that before the first step"),
    ]  # fmt: skip
    return [(name, one, says) for name, one, says in listed if one is not None]


def _is_finite(estimate: Estimate) -> bool:
    return all(map(math.isfinite, (estimate.value, *estimate.interval())))


def _evidence(name: str, estimate: Estimate, says: str) -> Evidence:
    low, high = estimate.interval()
    return Evidence(name, estimate.value, low, high, says)


def missing(series: ProbeSeries, left: ProbeSeries, facts: Facts) -> dict[str, str]:
    """Evidence that could not be had, and why.

    Args:
        series: all of it.
        left: what is usable of it.
        facts: read off that.
    """
    reasons = {name: "it is no finite number" for name, one, _ in _measured(facts) if not _is_finite(one)}
    if len(left) < len(series):
        dropped = ", ".join(f"{step:,}" for step in series.steps.tolist() if step not in left.steps)
        reasons["evaluations"] = f"losses that are no finite numbers, which do not count, at step {dropped}"
    if left.train is None:
        few = "there is no train probe" if series.train is None else "the train probe has too few rows"
        reasons |= dict.fromkeys(("membership AUC", "gap", "gap growth"), few)
    if facts.calibrated is None:
        reasons["membership AUC over base"] = "the losses of the base on these rows are not known"
    if facts.progress is None:
        reasons["slope of validation"] = "no two evaluations lie apart in travelled learning rate"
    if facts.accuracy is None:
        is_best = facts.right is not None
        why = "the last weights are the best" if is_best else "these rows have no right and wrong answers"
        reasons["accuracy change"] = why
    return reasons
