"""Whether the run was asked to stop: handlers only set a flag, boundaries look at it."""

import signal
import threading
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Trainer

from ..contracts.interruption import Interrupted

SIGNALS = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGUSR1") if name in signal.Signals.__members__)


class Interruption:
    """The signal that came, if one did. A second one ends the process at once."""

    def __init__(self) -> None:
        self.number = 0
        self._former: dict[int, Any] = {}

    def listen(self) -> None:
        """Take the signals over; does nothing outside the main thread, where Python allows no handler."""
        if threading.current_thread() is threading.main_thread() and not self._former:
            self._former = {number: signal.signal(number, self._note) for number in SIGNALS}

    def release(self) -> None:
        """Give the signals back to whom they belonged."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.number = number

    def requested(self, trainer: Trainer) -> bool:
        """Whether any rank was asked to stop; every rank has to ask at the same moments."""
        if trainer.world_size > 1:
            found = trainer.strategy.reduce(
                torch.tensor(self.number, device=trainer.strategy.root_device), reduce_op="max"
            )
            self.number = int(found)
        return self.number != 0

    def stop(self) -> Interrupted:
        """What to raise once everything is saved."""
        return Interrupted(self.number)
