"""Whether the run was asked to stop: handlers only set a flag, boundaries look at it."""

import math
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ..contracts.interruption import Interrupted

SIGNALS = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGUSR1") if name in signal.Signals.__members__)
NOTICE = "finelab: {name}: stopping at the next boundary, with all training so far saved; a second ends at once.\n"


class Interruption(Callback):
    """SIGTERM, SIGUSR1 or Ctrl-C, once training has started: the run stops at the next boundary and can be resumed.

    A boundary is the end of an optimizer step, a batch of a validation or of the evaluations before and after training,
    and the end of a save. The process ends with 128 + the signal: 143, 138 or 130. A second signal ends it at once.
    Before this callback's ``on_train_start`` the signals do what they do to any program.

    Under several ranks all of them agree, so that one signal to any one of them is enough. Lightning's own handlers,
    which communicate inside a handler and requeue on SLURM's SIGUSR1, are replaced while training; at its teardown
    Lightning puts back those that it found. On SLURM let the batch script requeue where the code is 138.
    """

    def __init__(self) -> None:
        self.number = 0
        self.leave_validation: Callable[[Trainer], bool] = lambda trainer: True
        """Saves what is needed to begin a validation again, or says that it has to be gone through."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.listen(trainer)

    def listen(self, trainer: Trainer) -> None:
        """Take the signals over; does nothing outside the main thread, where Python allows no handler."""
        if threading.current_thread() is not threading.main_thread():
            return
        notice = trainer.is_global_zero

        def note(number: int, frame: FrameType | None) -> None:
            self.number = number
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            if notice:  # not by print, which the signal may have interrupted
                os.write(2, NOTICE.format(name=signal.Signals(number).name).encode())

        self.number = signal.SIGTERM if trainer.received_sigterm else 0  # since Lightning began to listen
        for number in SIGNALS:
            signal.signal(number, note)

    def requested(self, trainer: Trainer) -> bool:
        """Whether any rank was asked to stop; every rank has to ask at the same moments."""
        if trainer.world_size > 1:
            own = torch.tensor(self.number, device=trainer.strategy.root_device)
            self.number = int(trainer.strategy.reduce(own, reduce_op="max"))
        return self.number != 0

    def check(self, trainer: Trainer, index: int = 0, shared: float = math.inf) -> None:
        """Before a batch of an evaluation.

        Args:
            trainer: whose ranks have to agree.
            index: of the batch.
            shared: batches that every rank has (``shared_batches``); behind them nobody can be asked.

        Raises:
            Interrupted: the run was asked to stop.
        """
        if (trainer.world_size > 1 and index >= shared) or not self.requested(trainer):
            return
        validates = trainer.validating and trainer.state.fn == "fit"
        if not validates or self.leave_validation(trainer):
            raise self.stop()

    def stop(self) -> Interrupted:
        """What to raise once everything is saved."""
        return Interrupted(self.number)


def shared_batches(trainer: Trainer, batches: float) -> float:
    """How many batches every rank has, to be asked by all of them; 0 among several ranks where one does not know."""
    if trainer.world_size == 1:
        return math.inf
    known = torch.tensor(-(batches if math.isfinite(batches) else 0), device=trainer.strategy.root_device)
    return -int(trainer.strategy.reduce(known, reduce_op="max"))


def check_interruption(trainer: Trainer, index: int, shared: float) -> None:
    """``Interruption.check`` of the run's own, if it has one."""
    for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(callback, Interruption):
            callback.check(trainer, index, shared)
