"""Stopping when the validation metric that picks the weights no longer improves."""

from typing import Literal

import lightning.pytorch.callbacks as lightning_callbacks
from lightning.pytorch import LightningModule, Trainer

from .evaluation import finetuner


class EarlyStopping(lightning_callbacks.EarlyStopping):
    """Lightning's, watching what ``BestCheckpoint`` watches.

    A loss that is not finite is an error elsewhere, not a quiet stop; a run without validation is never stopped.

    Args:
        monitor: e.g. ``val/nll``; by default the module's primary metric.
        mode: whether more is better; belongs to ``monitor``.
        patience: validations without an improvement.
        min_delta: smallest change that counts as one.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Literal["max", "min"] = "min",
        patience: int = 3,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(
            monitor=monitor or "", mode=mode, patience=patience, min_delta=min_delta, strict=False, check_finite=False
        )
        self.smallest_change = abs(min_delta)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not self.monitor:
            name, self.mode = finetuner(pl_module).primary
            self.monitor = f"val/{name}"
            # Lightning derives these two from the mode in its constructor.
            self.min_delta = self.smallest_change if self.mode == "max" else -self.smallest_change
            self.best_score = -self.best_score.abs() if self.mode == "max" else self.best_score.abs()
        super().setup(trainer, pl_module, stage)
        self._check_on_train_epoch_end = False
