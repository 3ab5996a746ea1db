"""A fresh interpreter for every cell."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress

from ...contracts.parent_death import PARENT
from .cell_command import cell_command
from .engine import Job

LOG_FILE = "log.txt"


class ProcessChild:
    """A child of this process that leads a group of its own.

    Args:
        process: as it was started.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        if self._process.returncode is None:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return None
            self._signal_group(signal.SIGKILL)  # before it is reaped, as long as its number is nobody else's
        return self._process.poll()

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class ProcessLauncher:
    """Costs an interpreter and all imports for every cell, and shares nothing between them.

    Args:
        command: of a job; by default that of ``finelab cell``.
    """

    def __init__(self, command: Callable[[Job], list[str]] = cell_command) -> None:
        self.command = command

    def start(self, job: Job, environment: Mapping[str, str]) -> ProcessChild:
        with (job.folder / LOG_FILE).open("ab") as log:
            process = subprocess.Popen(
                self.command(job),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environment, PARENT: str(os.getpid())},
                process_group=0,
            )
        return ProcessChild(process)

    def close(self) -> None:
        """Nothing is shared between cells."""
