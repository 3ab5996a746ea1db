"""torchmetrics' metrics as a meter beside the target's own. Legend: N positions, C classes or labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from ..contracts.batch import Batch
from ..contracts.errors import UserError
from ..models.meter import Meter, Reading
from ..models.scored import Scored

Input: TypeAlias = Literal["predictions", "probabilities", "logits"]


@dataclass(frozen=True)
class Given:
    """What metrics are updated with.

    Args:
        name: for messages.
        read: logits [N, C] to the first argument.
        true: targets to the second.
    """

    name: Input
    read: Callable[[Tensor], Tensor]
    true: Callable[[Tensor], Tensor]


class ExtraMeter(Meter):
    """Metrics that are read as ``NAME``, or ``NAME_KEY`` where one gives several numbers.

    They are no part of the module tree: what a metric of someone else's registers, even a network, is never trained,
    counted or saved.

    Args:
        metrics: fresh ones.
        given: what they are updated with.
    """

    def __init__(self, metrics: Mapping[str, Metric], given: Given) -> None:
        super().__init__()
        self.metrics, self.given = dict(metrics), given
        self.results: dict[str, Any] = {}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        for metric in self.metrics.values():
            metric._apply(fn)
        return super()._apply(fn, recurse)

    def update(self, scored: Scored, batch: Batch) -> None:
        """Raises:
        UserError: a metric does not take what it is given.
        """
        super().update(scored, batch)
        self.results = {}
        given, true = self.given.read(scored.logits), self.given.true(scored.targets)
        for name, metric in self.metrics.items():
            try:
                metric.update(given, true)
            except (ValueError, RuntimeError, TypeError, IndexError) as error:
                raise UserError(
                    f"ExtraMetrics: the metric {name} ({type(metric).__name__}) does not take "
                    f"{self.given.name} {list(given.shape)} with targets {list(true.shape)}: {one_line(error)} Give it "
                    "the arguments that fit the target (num_classes, num_labels), or set input to what it takes."
                ) from error

    def readings(self) -> dict[str, Reading]:
        return {name: value for name, value in self._computed().items() if not isinstance(value, list)}

    def tables(self) -> dict[str, Any]:
        return {name: value for name, value in self._computed().items() if isinstance(value, list)}

    def _computed(self) -> dict[str, Any]:
        """Once: after an error torchmetrics leaves a metric synchronised, and would say something else."""
        if not self.results:
            for name, metric in self.metrics.items():
                self.results |= flat(name, result(metric))
        return self.results

    def reset(self) -> None:
        super().reset()
        self.results = {}
        for metric in self.metrics.values():
            metric.reset()


def result(metric: Metric) -> Any:
    """What it computes, over all ranks; a sentence where it cannot.

    A metric is anyone's code, and one that a split does not suit must not end a run that has been trained.
    """
    try:
        return metric.compute()
    except Exception as error:
        return f"{type(metric).__name__} says: {one_line(error)}"


def flat(name: str, found: Any) -> dict[str, Any]:
    """Numbers, reasons (text) and tables (lists, None in the place of what is not finite) by name."""
    if isinstance(found, str):
        return {name: found}
    if isinstance(found, Mapping):
        return {key: value for own, part in found.items() for key, value in flat(f"{name}_{own}", part).items()}
    if isinstance(found, list | tuple):
        parts = [flat(name, part)[name] for part in found]
        return {name: [None if isinstance(part, str) else part for part in parts]}
    values = torch.as_tensor(found, dtype=torch.float64, device="cpu")
    if values.numel() != 1:
        return flat(name, list(values))
    value = values.item()
    return {name: value if values.isfinite().all() else f"it is {value} on these rows"}


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
