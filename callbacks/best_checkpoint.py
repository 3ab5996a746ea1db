"""The best trainable weights of a run, on the disk as soon as they are seen and in the module at the end."""

import math
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ..contracts.errors import UserError
from ..contracts.files import replace_folder
from .evaluation import finetuner, trial_batches


class BestCheckpoint(Checkpoint):
    """Keeps ``checkpoints/best`` by a validation metric, and ``checkpoints/last``; ends with the best in the module.

    Only trainable parameters are written. An earlier checkpoint wins a tie, a value that is not finite never wins, and
    the previous folder stays until the new one is complete. Without validation the last weights are the best.

    Args:
        directory: parent of ``checkpoints``; by default the trainer's ``default_root_dir``.
        monitor: e.g. ``val/nll``; by default the module's primary metric.
        mode: whether more is better; belongs to ``monitor``.
    """

    def __init__(
        self, directory: Path | None = None, monitor: str | None = None, mode: Literal["max", "min"] = "min"
    ) -> None:
        self.directory = directory
        self.monitor, self.mode = monitor, mode
        self.value: float | None = None
        self.step = 0
        self.is_done = False

    @property
    def folder(self) -> Path:
        assert self.directory is not None
        return self.directory / "checkpoints"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.directory = self.directory or Path(trainer.default_root_dir)
        if self.monitor is None:
            name, self.mode = finetuner(pl_module).primary
            self.monitor = f"val/{name}"
        self.is_done = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if self.monitor not in trainer.callback_metrics:
            known = sorted(name for name in trainer.callback_metrics if name.startswith("val/"))
            raise UserError(
                f"BestCheckpoint watches {self.monitor!r}, which this run does not log; it logs {', '.join(known)}. "
                "Set its monitor to one of these."
            )
        value = trainer.callback_metrics[self.monitor].item()
        if self._is_better(value):
            self.value, self.step = value, trainer.global_step
            self._save(trainer, pl_module, "best")

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
        if self.value is None:
            self.step = trainer.global_step
            self._save(trainer, pl_module, "best")
        elif not trial_batches(trainer):
            finetuner(pl_module).load_folder(self.folder / "best")

    def _is_better(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        return self.value is None or (value > self.value if self.mode == "max" else value < self.value)

    def _save(self, trainer: Trainer, module: LightningModule, name: str) -> None:
        if not trial_batches(trainer) and trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{name}-"))
            try:
                scratch.chmod(0o755)
                finetuner(module).save_folder(scratch)
                replace_folder(scratch, self.folder / name)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        trainer.strategy.barrier()

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "step": self.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.value, self.step = state_dict["value"], state_dict["step"]
