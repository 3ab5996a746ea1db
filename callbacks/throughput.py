"""How fast a run trains, and on how much."""

import resource
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from ..contracts.batch import Batch
from .evaluation import finetuner, summed


class Throughput(Callback):
    """Measures tokens and examples per second of training time; evaluation and saving do not count.

    A run that was resumed goes on with the counts and seconds of its training state.

    Logged under ``sys/`` at the trainer's log interval, over that interval, with examples and supervised tokens seen so
    far, so that curves can be read against them too. All counts are over all ranks.
    """

    def __init__(self) -> None:
        self.clock = Stopwatch()
        self.examples = self.input_tokens = self.supervised_at_start = 0
        self._pending: list[Tensor] = []
        self._pending_examples = 0
        self._logged = (0.0, 0, 0, 0, 0)
        self._last_step = 0
        self._restored = False
        self._peak = 0
        self._device = torch.device("cpu")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step, self._device = trainer.global_step, pl_module.device
        if not self._restored:
            supervised = self.supervised_at_start = finetuner(pl_module).supervised_tokens
            self._logged = (self.clock.seconds, trainer.global_step, supervised, self.input_tokens, self.examples)
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.clock.start()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.clock.stop()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """After a validation only here, since callbacks save checkpoints at its end."""
        self.clock.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self._pending.append(real_tokens(batch))
        self._pending_examples += len(batch["sample_id"])
        if trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        # The same two internals that Lightning's LearningRateMonitor reads, so that sys/ shares the axis of train/.
        if trainer._logger_connector.should_update_logs:
            self._log(trainer, pl_module, trainer.fit_loop.epoch_loop._batches_that_stepped)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.clock.stop()
        self._count()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """What follows is the writing; the next batch starts the clock again."""
        self.clock.stop()

    def state_dict(self) -> dict[str, Any]:
        """Called on every rank."""
        self._count()
        return {
            "seconds": self.clock.seconds,
            "examples": self.examples,
            "input_tokens": self.input_tokens,
            "supervised_at_start": self.supervised_at_start,
            "logged": self._logged,
            "peak": self._peak_so_far(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.clock = Stopwatch(state_dict["seconds"])
        self.examples, self.input_tokens = state_dict["examples"], state_dict["input_tokens"]
        self.supervised_at_start, self._logged = state_dict["supervised_at_start"], state_dict["logged"]
        self._peak, self._restored = state_dict["peak"], True

    def supervised_tokens_per_second(self, module: LightningModule) -> float:
        """Over the whole run so far."""
        seen = finetuner(module).supervised_tokens - self.supervised_at_start
        return seen / self.clock.seconds if self.clock.seconds else 0.0

    def peak_memory_bytes(self, module: LightningModule) -> int:
        """The highest of all sessions."""
        self._device = module.device
        return self._peak_so_far()

    def _peak_so_far(self) -> int:
        if self._device.type == "cuda":
            return max(self._peak, torch.cuda.max_memory_allocated(self._device))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return max(self._peak, peak if sys.platform == "darwin" else peak * 1024)

    def _count(self) -> None:
        """Counts wait on the device until they are wanted: reading each batch's would stall the accelerator."""
        local = int(torch.stack(self._pending).sum()) if self._pending else 0
        tokens, examples = summed(local, self._pending_examples)
        self.input_tokens += tokens
        self.examples += examples
        self._pending, self._pending_examples = [], 0

    def _log(self, trainer: Trainer, module: LightningModule, axis_step: int) -> None:
        self._count()
        supervised = finetuner(module).supervised_tokens
        now = (self.clock.seconds, trainer.global_step, supervised, self.input_tokens, self.examples)
        seconds, steps, targets, inputs, examples = (new - old for new, old in zip(now, self._logged, strict=True))
        self._logged = now
        metrics = {
            "sys/supervised_tokens_per_second": targets / seconds,
            "sys/input_tokens_per_second": inputs / seconds,
            "sys/examples_per_second": examples / seconds,
            "sys/step_seconds": seconds / max(steps, 1),
            "sys/peak_memory_gib": self.peak_memory_bytes(module) / 2**30,
            "sys/examples_seen": float(self.examples),
            "sys/supervised_tokens_seen": float(supervised),
        }
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=axis_step)


class Stopwatch:
    """Seconds between ``start`` and ``stop``, summed; either may be called twice.

    Args:
        seconds: to begin with.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._before = seconds
        self._since: float | None = None

    def start(self) -> None:
        if self._since is None:
            self._since = time.monotonic()

    def stop(self) -> None:
        self._before, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        return self._before + (0.0 if self._since is None else time.monotonic() - self._since)


def real_tokens(batch: Batch) -> Tensor:
    """Input tokens of a batch without pads; a packed one has no mask."""
    return (batch["document"] >= 0 if "document" in batch else batch["attention_mask"]).sum()
