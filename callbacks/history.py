"""The course of a run in a few numbers, for its record and its verdict."""

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class History(Callback):
    """One entry per validation: step, epoch, the validation metrics, and train_nll.

    ``train_nll`` is the mean over the optimizer steps since the last validation, with dropout on and moving weights: it
    shows a trend, not a generalisation gap.
    """

    def __init__(self) -> None:
        self.entries: list[dict[str, float]] = []
        self._train_nll: list[float] = []
        self._last_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self._last_step and "train/nll" in trainer.callback_metrics:
            self._last_step = trainer.global_step
            self._train_nll.append(float(trainer.callback_metrics["train/nll"]))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        entry = {"step": float(trainer.global_step), "epoch": float(trainer.current_epoch)}
        if self._train_nll:
            entry["train_nll"] = sum(self._train_nll) / len(self._train_nll)
        for name, value in trainer.callback_metrics.items():
            if name.startswith("val/") and math.isfinite(value):
                entry[name.removeprefix("val/")] = float(value)
        self.entries.append(entry)
        self._train_nll = []

    def state_dict(self) -> dict[str, Any]:
        return {"entries": self.entries, "train_nll": self._train_nll}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.entries, self._train_nll = list(state_dict["entries"]), list(state_dict["train_nll"])
