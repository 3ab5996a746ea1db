"""Which validation metric picks the weights, and whether more of it is better."""

from typing import Protocol, runtime_checkable

from lightning.pytorch import LightningModule

from ..contracts.errors import UserError
from ..contracts.metrics import MODES, Mode
from .evaluation import callbacks_of, finetuner


@runtime_checkable
class Directed(Protocol):
    """A callback that adds validation metrics."""

    def directions(self) -> dict[str, Mode]:
        """Of its metrics that may pick the weights which way is better, whatever stage the trainer is in."""
        ...


def monitored(monitor: str | None, module: LightningModule) -> tuple[str, Mode]:
    """A metric with its direction.

    Args:
        monitor: e.g. ``val/nll``, or ``val/NAME/nll`` of one of several evaluation sets; None is the module's primary
            metric.
        module: a ``FineTuner``; its primary metric is known whatever its name.

    Raises:
        UserError: the metric is not known, so that neither is its direction.
    """
    name, mode = finetuner(module).primary
    known: dict[str, Mode] = {**MODES, name: mode}
    for callback in callbacks_of(module.trainer):
        if isinstance(callback, Directed):
            known |= callback.directions()
    if monitor is None:
        return f"val/{name}", mode
    stage, _, key = monitor.partition("/")
    key = key.rpartition("/")[2]
    if stage != "val" or key not in known:
        raise UserError(
            f"monitor is {monitor!r}, which is no validation metric that finelab knows; there are "
            f"{', '.join(f'val/{each}' for each in known)}, and val/NAME/... of one of several evaluation sets."
        )
    return monitor, known[key]


def require_logged(monitor: str, metrics: dict) -> None:
    """Refuse a metric that this run does not have.

    Raises:
        UserError: it is not among the metrics of an evaluation of the validation split that has just ended.
    """
    if monitor not in metrics:
        known = sorted(name for name in metrics if name.startswith("val/"))
        raise UserError(
            f"monitor is {monitor!r}, which this run does not log; it logs {', '.join(known)}. "
            "Set monitor to one of these."
        )
