"""Streaming metrics of a whole split: every number is a mean over its supervised tokens, whatever the batch size."""

import math
from abc import abstractmethod
from typing import Any, TypeAlias

from torch import nn
from torchmetrics import Metric

from ..contracts.batch import Batch
from .scored import Scored
from .totals import Totals

Reading: TypeAlias = float | str
"""A metric's value, or why the rows or the predictions do not define it."""


class Meter(nn.Module):
    """Accumulates batches and is read once at the end, on every rank: what it says is of all of them.

    What a split does not define is missing, with a reason, and never 0; what is not finite because the model diverged
    is no such thing, and is handed out as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nll, self.tokens = Totals(), Totals()

    def update(self, scored: Scored, batch: Batch) -> None:
        self.nll.update(scored.nll.to(self.nll.total.dtype).sum())
        self.tokens.update(len(scored.targets))

    @abstractmethod
    def readings(self) -> dict[str, Reading]:
        """The metrics by name; nll is in nats per supervised token."""

    def tables(self) -> dict[str, Any]:
        """What is no single number, as JSON: a confusion matrix, bins; ``{"missing": reason}`` where there is none."""
        return {}

    def compute(self) -> dict[str, float]:
        """The metrics that there are."""
        return {name: value for name, value in self.found().items() if not isinstance(value, str)}

    def missing(self) -> dict[str, str]:
        """Metrics that the rows or the predictions do not define -> why."""
        return {name: value for name, value in self.found().items() if isinstance(value, str)}

    def logged(self) -> dict[str, float]:
        """With NaN for what is missing this time, so that nobody takes an earlier value for this one."""
        return {name: math.nan if isinstance(value, str) else value for name, value in self.found().items()}

    def found(self) -> dict[str, Reading]:
        return self.readings() if self.tokens.compute() else {"nll": "there is nothing supervised in these rows"}

    def mean_nll(self) -> float:
        return (self.nll.compute() / self.tokens.compute()).item()

    def reset(self) -> None:
        for module in self.modules():
            if isinstance(module, Metric):
                module.reset()
