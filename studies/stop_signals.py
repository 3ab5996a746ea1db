"""Ctrl-C and SIGTERM of a controller, counted instead of obeyed at once."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

CAUGHT = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """While it is entered, these signals are counted. In another thread than the main one it sees none."""

    def __init__(self) -> None:
        self.count = 0
        self.number: int | None = None
        """Of the first one."""
        self._former: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # Python allows no handler elsewhere
            self._former = {number: signal.signal(number, self._caught) for number in CAUGHT}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.number = self.number or number
