"""Whether a run overfits, with what says so."""

from dataclasses import dataclass, field
from typing import Literal

Label = Literal["healthy", "overfitting", "underfitting", "undecided"]


@dataclass(frozen=True)
class Evidence:
    """One number behind a verdict.

    Args:
        name: e.g. ``membership AUC``.
        value: what was measured.
        low: lower end of its interval; None where it has none.
        high: upper end.
        says: what it means here, in words.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    says: str


@dataclass(frozen=True)
class Remedy:
    """Something to try.

    Args:
        what: in words.
        override: arguments of ``finelab fit`` that do it; empty where it is not an argument.
    """

    what: str
    override: str


@dataclass(frozen=True)
class Verdict:
    """What the evaluations of a run say about its fit.

    Args:
        label: healthy, overfitting, underfitting, or undecided where the evidence cannot tell.
        sentence: the finding in words, with its numbers.
        metric: of what it speaks, e.g. ``nll``.
        step: optimizer steps taken when it was given.
        began: the step from which on the finding holds; None where it does not begin anywhere.
        cost: given away by the last weights against the chosen ones, in the metric's unit (nll: nats per supervised
            token); None where that was not measured.
        evidence: the numbers.
        remedies: what to try, the most promising first.
        missing: evidence that could not be had -> why.
    """

    label: Label
    sentence: str
    metric: str
    step: int
    began: int | None
    cost: float | None
    evidence: list[Evidence] = field(default_factory=list)
    remedies: list[Remedy] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
