"""Cells without the cost of an interpreter and its imports."""

import os
import select
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress

from .cell_command import FINELAB, cell_command
from .engine import Job
from .launcher import Child, Launcher
from .process_launcher import LOG_FILE, ProcessLauncher
from .warm_server import LAST_BREATH, WarmServer

COMMAND = (*FINELAB, "cells")
DEVICES = "CUDA_VISIBLE_DEVICES"
STARTS = 2
"""Servers that may die in a study; then every cell gets an interpreter of its own."""


class WarmChild:
    """A cell that a server has forked.

    Args:
        server: its parent.
        job: its number there.
        pid: of the process.
    """

    def __init__(self, server: WarmServer, job: int, pid: int) -> None:
        self._server, self._job, self._pid = server, job, pid
        self._code: int | None = None
        self._watch: int | None = None
        with suppress(ProcessLookupError):  # it has ended, and the server will say so
            self._watch = os.pidfd_open(pid)

    @property
    def pid(self) -> int:
        return self._pid

    def poll(self) -> int | None:
        if self._code is None:
            self._server.read()
            self._code = self._server.codes.get(self._job)
            if self._code is None and self._server.dead:
                self._code = self._died_with_the_server()
            if self._code is not None and self._watch is not None:
                os.close(self._watch)
        return self._code

    def _died_with_the_server(self) -> int:
        if self._watch is not None:
            select.select([self._watch], [], [], LAST_BREATH)
        with suppress(ProcessLookupError):  # what it had started itself
            os.killpg(self._pid, signal.SIGKILL)
        return -signal.SIGKILL

    def terminate(self) -> None:
        self._server.signal(self._job, signal.SIGTERM, group=False)

    def kill(self) -> None:
        self._server.signal(self._job, signal.SIGKILL, group=True)


class WarmLauncher:
    """Forks cells off a process that has all imports behind it.

    It is started with the first cell. A cell gets an interpreter of its own where that process cannot be used: on
    another system than Linux, where imports leave threads or CUDA behind, after it has died twice, and where a cell's
    environment differs in more than its devices. A cell whose server dies is killed with it.

    Args:
        command: that starts the server.
        cold: starts all cells that are not forked.
    """

    def __init__(self, command: Sequence[str] = COMMAND, cold: Launcher | None = None) -> None:
        self.command = command
        self.cold: Launcher = ProcessLauncher() if cold is None else cold
        self.server: WarmServer | None = None
        self._starts = STARTS if sys.platform == "linux" else 0
        self._shared: dict[str, str] = {}

    def start(self, job: Job, environment: Mapping[str, str]) -> Child:
        log = job.folder / LOG_FILE
        log.open("ab").close()
        words = cell_command(job)[len(FINELAB) :]
        while (server := self._server(environment)) is not None:
            forked = server.fork(words, log.absolute(), environment)
            if forked is not None:
                return WarmChild(server, *forked)
        return self.cold.start(job, environment)

    def _server(self, environment: Mapping[str, str]) -> WarmServer | None:
        """One that is ready, of a cell's environment."""
        shared = {name: value for name, value in environment.items() if name != DEVICES}
        if self.server is not None:
            self.server.read()
            if not self.server.dead:
                return self.server if shared == self._shared else None
            self._bury(self.server, "it died")
        while self._starts > 0:
            self._starts -= 1
            server, self._shared = WarmServer(self.command, shared), shared
            refusal = server.refusal()
            if refusal is None:
                self.server = server
                return server
            self._bury(server, refusal)
        return None

    def _bury(self, server: WarmServer, why: str) -> None:
        self.server = None
        reason = f"{why}; {server.last_words()}"
        server.close()
        if self._starts == 0:
            warnings.warn(
                f"engine.warm: the process that keeps imports between cells is not used: {reason}. Every cell now "
                "starts an interpreter of its own, which takes some seconds each.",
                stacklevel=3,
            )

    def close(self) -> None:
        if self.server is not None:
            self.server.close()
        self.cold.close()
