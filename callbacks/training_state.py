"""What a run needs to go on as if it had never stopped."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.utilities import rank_zero_warn

from ..contracts.data import AuditedSource
from ..contracts.state_folder import CHECKPOINTS, state_name, states
from ..models.sharding import is_sharded
from .averages import averages, require_sound_averages
from .evaluation import callbacks_of, data_of, gathered, trial_batches
from .event_files import event_sizes
from .interruption import Interruption, shared_batches
from .loop_state import ResumedFitLoop, ended, pending, position_loader, settled
from .random_states import random_states, restore_random_states
from .state_io import OURS

Canonical = Callable[[dict[str, Any]], dict[str, Any]]
SHORT = 1.0
"""Seconds; a save that took less is made whenever it falls due."""
APART = 20
"""Times the duration of the last save that pass before the next one: at most a twentieth of the time goes to saves."""


class TrainingState(Callback):
    """Saves ``checkpoints/state-*`` at boundaries between optimizer steps, and ends the run at one when asked to.

    Has to stand first among the callbacks: when it acts, the step before is logged and validated, and no other callback
    has seen the next batch. A state that falls due inside an accumulation window waits for its end.

    Saved are the start, what follows a validation, in between by steps and minutes, and what the evaluation at the end
    needs. Where the last save took a second or more, a state that a validation or the minutes ask for waits until 20
    times that duration has passed, so that saves take at most 5 % of the time; a state by steps, on a signal or at the
    end never waits. Only the newest state is kept; the one before goes when the new one has been read back, and the
    last one when the run has its record.

    Args:
        directory: the run's.
        minutes: between two states; None saves by steps and validations only.
        steps: optimizer steps between two states.
        interruption: whether the run was asked to stop; it listens where it is among the trainer's callbacks.
    """

    def __init__(
        self,
        directory: Path,
        minutes: float | None = 10.0,
        steps: int | None = None,
        interruption: Interruption | None = None,
    ) -> None:
        self.directory, self.minutes, self.steps = directory, minutes, steps
        self.interruption = interruption or Interruption()
        self.interruption.leave_validation = self.leave_validation
        self._shared: list[float] = []
        self._canonical: Canonical | None = None
        self._restored: dict[str, Any] | None = None
        self._random: dict[str, Any] | None = None
        self._metrics: dict[str, Any] = {}
        self._stops = self._swapped = False
        self._resumed_at = -1
        self._saved_step, self._saved_at, self._save_seconds, self._validated = -1, time.monotonic(), 0.0, False

    # ---- the moments

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        require_sound_averages(trainer, pl_module)
        if self._restored is not None:
            ResumedFitLoop.take_over(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_sharded(pl_module):
            rank_zero_warn("No training state is kept under ModelParallelStrategy: a run that is stopped starts again.")
        if self._restored is not None:
            self._saved_step = self._resumed_at = trainer.global_step
            self._saved_at = time.monotonic()
            trainer.should_stop |= self._restored["should_stop"]
            position_loader(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._restore(trainer)
        if batch_idx % trainer.accumulate_grad_batches:
            return
        self._random = None
        stops = self.interruption.requested(trainer)
        if stops or self._is_due(trainer):
            self.save(trainer, settled)
        if stops:
            raise self.interruption.stop()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._restore(trainer)
            self._random, self._swapped = random_states(), False
            self._shared = [shared_batches(trainer, batches) for batches in trainer.num_val_batches]
            self.interruption.check(trainer, 0, 1)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._swapped = bool(averages(trainer))
            self.interruption.check(trainer, batch_idx, self._shared[dataloader_idx])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated, self._random = True, None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What follows may take long, and has to be done again as a whole if it breaks off."""
        self._restore(trainer)
        if trainer.global_step != self._resumed_at:  # else what it was resumed from leads here again
            self.save(trainer, ended)
        if self.interruption.requested(trainer):
            raise self.interruption.stop()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The record is written: there is nothing to go on with any more."""
        if trainer.is_global_zero:
            for state in states(self.directory):
                trainer.strategy.checkpoint_io.remove_checkpoint(state)

    def leave_validation(self, trainer: Trainer) -> bool:
        """The step before is done; on a resume the validation begins anew.

        It is gone through inside an accumulation window, where the run ends after it, and where averaged weights stand
        in the place of those that train: none of these can be said by a state.
        """
        is_last = trainer.should_stop or 0 < trainer.max_steps <= trainer.global_step
        if trainer.fit_loop._should_accumulate() or is_last or self._swapped:
            return False
        self.save(trainer, pending)
        return True

    def _is_due(self, trainer: Trainer) -> bool:
        if trainer.global_step == self._saved_step:
            return False
        passed = time.monotonic() - self._saved_at
        late = self._validated or (self.minutes is not None and passed >= 60 * self.minutes)
        late = late and (self._save_seconds < SHORT or passed >= APART * self._save_seconds)
        if trainer.world_size > 1:  # each rank has its own clock
            late = trainer.strategy.broadcast(late)
        counted = self.steps is not None and trainer.global_step - self._saved_step >= self.steps
        return self._saved_step < 0 or counted or late

    # ---- saving

    def save(self, trainer: Trainer, canonical: Canonical) -> None:
        """Write the state at this boundary, then take away the older ones."""
        if trial_batches(trainer) or is_sharded(trainer.lightning_module):
            return
        began = time.monotonic()
        target = self.directory / CHECKPOINTS / state_name(trainer.global_step)
        former = states(self.directory)
        self._canonical, self._stops = canonical, trainer.should_stop
        self._metrics = dict(trainer.callback_metrics)
        try:
            trainer.save_checkpoint(target, weights_only=False)
        finally:
            self._canonical = None
        if trainer.is_global_zero:
            for old in former:
                if old != target:
                    trainer.strategy.checkpoint_io.remove_checkpoint(old)
        self._saved_step, self._saved_at, self._validated = trainer.global_step, time.monotonic(), False
        self._save_seconds = self._saved_at - began

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._canonical is not None:
            checkpoint["loops"] = self._canonical(checkpoint["loops"])
        data = data_of(trainer)
        said = {"fingerprint": data.fingerprint} if isinstance(data, AuditedSource) else {}
        checkpoint[OURS] = checkpoint.get(OURS, {}) | said | {"events": self._event_files(trainer)}

    def _event_files(self, trainer: Trainer) -> dict[str, int]:
        """Size of each, so that a resume can cut off what came later."""
        if not trainer.is_global_zero:
            return {}
        for logger in trainer.loggers:
            logger.save()
        return event_sizes(self.directory)

    def state_dict(self) -> dict[str, Any]:
        """Called on every rank."""
        rng = gathered(self._random or random_states())
        return {"rng": rng, "should_stop": self._stops, "metrics": self._metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        fit = checkpoint["loops"]["fit_loop"]
        self._stepped: int = fit["epoch_loop.state_dict"]["_batches_that_stepped"]

    def _restore(self, trainer: Trainer) -> None:
        """What a restart of Lightning's loops has moved since the state was loaded."""
        if self._restored is None:
            return
        ranks, metrics, self._restored = self._restored["rng"], self._restored["metrics"], None
        if len(ranks) == trainer.world_size:
            restore_random_states(ranks[trainer.global_rank])
        else:
            rank_zero_warn(
                f"The training state has the random generators of {len(ranks)} processes and there are "
                f"{trainer.world_size}: these stay as they were seeded, so that the run does not go on as if it had "
                "never stopped. Go on with as many devices as before where that matters."
            )
        for callback in callbacks_of(trainer):
            if isinstance(callback, GradientAccumulationScheduler):  # which acts at the start of an epoch only
                trainer.accumulate_grad_batches = callback.get_accumulate_grad_batches(trainer.current_epoch)
        trainer._logger_connector._callback_metrics.update(metrics)
        trainer.fit_loop.epoch_loop._batches_that_stepped = self._stepped
