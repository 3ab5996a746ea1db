"""SIGTERM and SIGUSR1 while nothing can be saved yet: the process still clears up behind itself."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..contracts.interruption import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Turns these signals into an exception where Python stands, as it does with Ctrl-C by itself.

    Training takes the signals over while it runs. A signal that the parent process has had ignored stays ignored.
    """
    taken = {}
    if threading.current_thread() is threading.main_thread():  # Python allows no handler elsewhere
        taken = {number: signal.getsignal(number) for number in SIGNALS}
        taken = {number: former for number, former in taken.items() if former is signal.SIG_DFL}
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, former in taken.items():
            signal.signal(number, former)


def end(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)
