"""Progress where there is no terminal: one line now and then, for log files and schedulers."""

import math
import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from .best_checkpoint import watched
from .evaluation import finetuner
from .planned_steps import total_steps


class PlainProgress(ProgressBar):
    """Prints step, losses, supervised tokens per second and the time left on standard error.

    Args:
        seconds: at most one line in so many, besides the first step and every validation.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.is_enabled = True

    def disable(self) -> None:
        self.is_enabled = False

    def enable(self) -> None:
        self.is_enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.monotonic()
        self._first_step = self._last_step = trainer.global_step
        self._shown = (self._start - self.seconds, finetuner(pl_module).supervised_tokens)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self._last_step:
            self._last_step = trainer.global_step
            if time.monotonic() - self._shown[0] >= self.seconds:
                self._print(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._print(trainer, pl_module)

    def _print(self, trainer: Trainer, module: LightningModule) -> None:
        now, tokens = time.monotonic(), finetuner(module).supervised_tokens
        rate = (tokens - self._shown[1]) / max(now - max(self._shown[0], self._start), 1e-9)
        self._shown = (now, tokens)
        total = total_steps(trainer)
        parts = [f"step {trainer.global_step}" + (f"/{total}" if total else ""), f"epoch {trainer.current_epoch + 1}"]
        for name in ("train/nll", "val/nll", watched(trainer, module)[0]):
            part = f"{name} {float(trainer.callback_metrics.get(name, math.nan)):.4f}"
            if name in trainer.callback_metrics and part not in parts:
                parts.append(part)
        parts.append(f"{rate:,.0f} supervised tokens/s")
        done = trainer.global_step - self._first_step
        if total and done:
            left = (now - self._start) / done * (total - trainer.global_step)
            parts.append(f"{int(left) // 60}:{int(left) % 60:02d} left")
        if self.is_enabled:
            print("  ".join(parts), file=sys.stderr, flush=True)
