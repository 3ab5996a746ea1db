"""How a verdict is reached, and about what."""

from dataclasses import dataclass, field
from typing import Literal

from .recipe import Recipe

Metric = Literal["nll", "accuracy"]


@dataclass(frozen=True)
class Reference:
    """What training has to beat, on the validation rows.

    Args:
        name: e.g. ``frozen-feature probe``.
        loss: its loss per token, in the metric's unit.
        start: loss before the first step, e.g. of the majority class where the head was new; None where not known.
    """

    name: str
    loss: float
    start: float | None = None


@dataclass(frozen=True)
class Settings:
    """What the judge is told beside the losses.

    Args:
        alpha: error of the test for overfitting, one-sided: false alarms at the end of a run, and as many during it.
        metric: ``nll``, or ``accuracy`` (its error rate).
        finished: whether training has ended; before, no run is called underfitting.
        promise: what as much training again has to promise before a run underfits: the geometric mean of its shares of
            the loss and of the gain so far. A loss with much entropy of its own falls little, and a loss that has come
            a long way gains little, so that neither share will do by itself.
        kept: step of the weights that are kept; None where none are known.
        recipe: the configuration in use, which remedies start from.
    """

    alpha: float = 0.05
    metric: Metric = "nll"
    finished: bool = True
    promise: float = 0.075
    kept: int | None = None
    recipe: Recipe = field(default_factory=Recipe)
