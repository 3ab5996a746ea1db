"""A cell on its way to another machine."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from .child_environment import child_environment
from .engine import Job
from .launcher import Child, Launcher
from .process_launcher import ProcessLauncher

NAP = 0.1


@dataclass(frozen=True)
class Ended:
    """What came of it.

    Args:
        code: of the child, negative of the signal that killed it.
        host: where it ran.
    """

    code: int
    host: str


@dataclass
class RemoteCell:
    """Runs a cell's child in whatever process of another machine an engine's own machinery gives it.

    That process starts no training itself: a trainer starts further ranks from the command line that it finds, and a
    library that had been loaded there would be the next cell's too. The child dies with it.

    Args:
        job: to be run; its folder is the same on all machines.
        cwd: that relative paths of the configuration start from.
        threads: of each library that computes.
        gpus: of the cell; of none it sees none, else those that the engine's machinery has set.
        environment: more of the child's.
        launcher: starts it there.
    """

    job: Job
    cwd: str
    threads: int
    gpus: float
    environment: dict[str, str] = field(default_factory=dict)
    launcher: Launcher = field(default_factory=ProcessLauncher)

    def run(self, stop: Callable[[], bool], watch: Callable[[Child], Child] = lambda child: child) -> Ended:
        """Until the child ends.

        Args:
            stop: whether the child is to be asked to end, which it may take its time for.
            watch: is given it once it runs, and gives what is to be used in its place.
        """
        os.chdir(self.cwd)
        environment = child_environment(self.threads, None if self.gpus else "") | self.environment
        child = watch(self.launcher.start(self.job, environment))
        told = False
        try:
            while (code := child.poll()) is None:
                if stop() and not told:
                    told = True
                    child.terminate()
                time.sleep(NAP)
        finally:
            child.kill()
        return Ended(code, socket.gethostname())


class StopFlag:
    """Signals that ask this process to end are noted while a cell runs, so that its child ends first.

    Args:
        numbers: of the signals.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self.numbers = numbers
        self._seen = False

    def __call__(self) -> bool:
        return self._seen

    def __enter__(self) -> "StopFlag":
        self._former = {}
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._note) for number in self.numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._seen = True
