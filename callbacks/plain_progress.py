"""Progress where there is no terminal: one line now and then, for log files and schedulers."""

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from .planned_steps import total_steps
from .progress_figures import ProgressFigures

WIDTH = 100


class PlainProgress(ProgressBar):
    """Prints step, training NLL, gap, the validation metric that picks the weights, verdict, supervised tokens per
    second and the time left on standard error.

    Args:
        seconds: at most one line in so many, besides the first step and every validation.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.is_enabled = True
        self.figures = ProgressFigures()
        self._last_step, self._shown = 0, 0.0

    def disable(self) -> None:
        self.is_enabled = False

    def enable(self) -> None:
        self.is_enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.figures.start(trainer)
        self._last_step, self._shown = trainer.global_step, time.monotonic() - self.seconds

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self._last_step:
            self._last_step = trainer.global_step
            if time.monotonic() - self._shown >= self.seconds:
                self._print(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._print(trainer, pl_module)

    def _print(self, trainer: Trainer, module: LightningModule) -> None:
        self._shown, total = time.monotonic(), total_steps(trainer)
        step = f"step {trainer.global_step:,}" + (f"/{total:,}" if total else "")
        words = self.figures.words(trainer, module)
        line = "  ".join([step, *words.values()])
        if len(line) > WIDTH:
            line = "  ".join([step, *(word for name, word in words.items() if name != "monitor")])
        if self.is_enabled:
            print(line, file=sys.stderr, flush=True)
