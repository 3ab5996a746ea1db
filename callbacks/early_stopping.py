"""Stopping when the validation metric that picks the weights no longer improves."""

from typing import Any, Literal

import lightning.pytorch.callbacks as lightning_callbacks
from lightning.pytorch import LightningModule, Trainer

from .best_checkpoint import watched
from .monitor import monitored, require_logged


class EarlyStopping(lightning_callbacks.EarlyStopping):
    """Lightning's, watching what ``BestCheckpoint`` watches.

    A loss that is not finite is an error elsewhere, not a quiet stop; a run without validation is never stopped.

    Args:
        monitor: e.g. ``val/nll``; by default the metric that picks the weights.
        mode: whether more is better; needed only for a metric of your own.
        patience: validations without an improvement.
        min_delta: smallest change that counts as one.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Literal["max", "min"] | None = None,
        patience: int = 3,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(
            monitor=monitor or "",
            mode=mode or "min",
            patience=patience,
            min_delta=min_delta,
            strict=False,
            check_finite=False,
        )
        self.given_mode = mode
        self.smallest_change = abs(min_delta)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not self.given_mode:
            self.monitor, self.mode = (
                monitored(self.monitor, pl_module) if self.monitor else watched(trainer, pl_module)
            )
            # Lightning derives these two from the mode in its constructor.
            self.min_delta = self.smallest_change if self.mode == "max" else -self.smallest_change
            self.best_score = -self.best_score.abs() if self.mode == "max" else self.best_score.abs()
        super().setup(trainer, pl_module, stage)
        self._check_on_train_epoch_end = False

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """How it stands; the patience is the configuration's."""
        super().load_state_dict(state_dict | {"patience": self.patience})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's ``strict=False`` lets a run without validation be; a mistyped name is still refused."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            require_logged(self.monitor, trainer.callback_metrics)
        super().on_validation_end(trainer, pl_module)
