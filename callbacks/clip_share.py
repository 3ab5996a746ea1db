"""How often gradients are clipped, since one norm every so many steps does not tell."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from .evaluation import finetuner


class ClipShare(Callback):
    """Logs ``grad/clip_share``: of the optimizer steps since the last log, the share whose gradient's norm was above
    ``trainer.gradient_clip_val``.

    Near 1 every step has the same length and the learning rate alone decides; a step without a supervised token is not
    counted. Logs nothing where nothing is clipped by the norm.
    """

    def __init__(self) -> None:
        self._last_step = self._skipped = self._steps = self._clipped = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step, self._skipped = trainer.global_step, finetuner(pl_module).skipped_steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        threshold = clip_threshold(trainer)
        if threshold is None or trainer.global_step == self._last_step:
            return
        self._last_step, tuner = trainer.global_step, finetuner(pl_module)
        if tuner.skipped_steps == self._skipped:
            self._steps += 1
            self._clipped += bool(tuner.norm > threshold)
        self._skipped = tuner.skipped_steps
        # The same two internals as in Throughput, so that it shares the axis of grad/norm.
        if self._steps and trainer._logger_connector.should_update_logs:
            metrics = {"grad/clip_share": self._clipped / self._steps}
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step=trainer.fit_loop.epoch_loop._batches_that_stepped)
            self._steps, self._clipped = 0, 0

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps, "clipped": self._clipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._steps, self._clipped = state_dict["steps"], state_dict["clipped"]


def clip_threshold(trainer: Trainer) -> float | None:
    """The norm above which a step is clipped; None where none is."""
    by_norm = trainer.gradient_clip_algorithm != "value"
    return float(trainer.gradient_clip_val) if trainer.gradient_clip_val and by_norm else None
