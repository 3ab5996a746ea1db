"""The best trainable weights of a run, on the disk as soon as they are seen and in the module at the end."""

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ..contracts.disk import disk_faults
from ..contracts.files import whole_folder
from ..contracts.state_folder import BEST
from ..models.sharding import whole
from .averages import as_validated
from .evaluation import finetuner, trial_batches
from .monitor import Mode, monitored, require_logged
from .probes import probes_of
from .split_evaluation import evaluate_split, logged
from .state_io import link_folder


class BestCheckpoint(Checkpoint):
    """Keeps ``checkpoints/best`` by a validation metric, and ``checkpoints/last``; ends with the best in the module.

    Only trainable parameters are written. An earlier checkpoint wins a tie, a value that is not finite never wins, and
    the previous folder stays until the new one is complete. Weights that were trained after the last validation are
    evaluated at the end and compete. Without validation the last weights are the best.

    Args:
        directory: parent of ``checkpoints``; by default the trainer's ``default_root_dir``.
        monitor: e.g. ``val/nll``; by default the module's primary metric.
    """

    def __init__(self, directory: Path | None = None, monitor: str | None = None) -> None:
        self.directory = directory
        self.monitor = monitor
        self.mode: Mode = "min"
        self.value: float | None = None
        self.step = self.validated_step = 0
        self.is_done = False

    @property
    def folder(self) -> Path:
        assert self.directory is not None
        return self.directory / "checkpoints"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.directory = self.directory or Path(trainer.default_root_dir)
        self.monitor, self.mode = monitored(self.monitor, pl_module)
        self.is_done = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        assert self.monitor is not None
        require_logged(self.monitor, trainer.callback_metrics)
        with as_validated(trainer, pl_module):
            self._compete(trainer, pl_module, trainer.callback_metrics[self.monitor].item())

    def _compete(self, trainer: Trainer, module: LightningModule, value: float) -> None:
        self.validated_step = trainer.global_step
        if self._is_better(value):
            self.value, self.step = value, trainer.global_step
            self._save(trainer, module, "best")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.finish(trainer, pl_module)

    def finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last weights and load the best; a second call does nothing.

        Lightning runs checkpoint callbacks last, so whoever evaluates at the end of training asks for this first.
        """
        if self.is_done:
            return
        self.is_done = True
        self._save(trainer, pl_module, "last")
        if trainer.global_step > self.validated_step and not trial_batches(trainer):
            self._validate(trainer, pl_module)
        if self.value is None:
            self.step = trainer.global_step
            self._save(trainer, pl_module, "best")
        elif not trial_batches(trainer):
            finetuner(pl_module).load_folder(self.folder / "best")

    def _validate(self, trainer: Trainer, module: LightningModule) -> None:
        """On as many batches as the trainer's own validation, so that the values can be compared."""
        found = evaluate_split(module, "validation", trainer, batches=trainer.num_val_batches)
        metrics = logged(found)
        if not metrics:
            return
        probes = probes_of(trainer)
        if probes is not None and "validation" in found:
            probes.take_last(trainer, module, found["validation"])
        assert self.monitor is not None
        require_logged(self.monitor, metrics)
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)
        self._compete(trainer, module, metrics[self.monitor])

    def _is_better(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        return self.value is None or (value > self.value if self.mode == "max" else value < self.value)

    def _save(self, trainer: Trainer, module: LightningModule, name: str) -> None:
        if trial_batches(trainer):
            return
        with whole(module):
            if trainer.is_global_zero:
                size = sum(p.nbytes for p in module.parameters() if p.requires_grad)
                with disk_faults(self.folder / name, size), whole_folder(self.folder / name) as scratch:
                    finetuner(module).save_folder(scratch)
        trainer.strategy.barrier()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """The best weights are again those of the training state, which may be older than what lies there now."""
        assert trainer.ckpt_path is not None
        kept = Path(trainer.ckpt_path) / BEST
        if trainer.is_global_zero and kept.is_dir():
            size = sum(path.stat().st_size for path in kept.rglob("*"))
            with disk_faults(self.folder / BEST, size), whole_folder(self.folder / BEST) as scratch:
                link_folder(kept, scratch)

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "step": self.step, "validated_step": self.validated_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.value, self.step = state_dict["value"], state_dict["step"]
        self.validated_step = state_dict["validated_step"]


def watched(trainer: Trainer, module: LightningModule) -> tuple[str, Mode]:
    """The metric that picks the weights of this run, and its direction."""
    best = next((callback for callback in trainer.checkpoint_callbacks if isinstance(callback, BestCheckpoint)), None)
    return monitored(best.monitor if best else None, module)
