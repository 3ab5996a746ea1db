"""The other end of ``finelab cells``, see scripts/warm.py."""

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...contracts.parent_death import PARENT

FOR_IMPORTS = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""Else asking whether there is a GPU makes CUDA useless in every process that is forked later."""
PATIENCE = 300.0
"""Seconds until imports count as hanging."""
LAST_BREATH = 10.0
LINE = 1 << 16


class WarmServer:
    """A process that forks cells on request, and dies with this one.

    Args:
        command: that starts it.
        environment: of the server, and but for the devices of all its cells.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 until close()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={**environment, **FOR_IMPORTS, PARENT: str(os.getpid())},
            process_group=0,
            bufsize=0,
        )
        self.codes: dict[int, int] = {}
        """Job -> its exit status."""
        self.dead = False
        self._pids: dict[int, int] = {}
        self._rest = b""
        self._asked = 0
        self._first: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        return self._process.pid

    def refusal(self) -> str | None:
        """Waits for the imports. None once it is ready to fork; else why it never will."""
        self._wait_for(lambda: bool(self._first), PATIENCE)
        if "ready" in self._first:
            return None
        return self._first.get("unsafe") or f"it ended with {self._process.poll()}"

    def fork(self, words: Sequence[str], log: Path, environment: Mapping[str, str]) -> tuple[int, int] | None:
        """Start a cell; (job, pid), or None where the server is gone."""
        self._asked += 1
        job = self._asked
        self._ask({"job": job, "words": list(words), "log": str(log), "environment": dict(environment)})
        self._wait_for(lambda: job in self._pids, PATIENCE)
        return (job, self._pids[job]) if job in self._pids else None

    def signal(self, job: int, number: int, group: bool) -> None:
        """Nothing happens where the job or the server has ended."""
        self._ask({"job": job, "signal": number, "group": group})

    def read(self, seconds: float = 0.0) -> None:
        """Take in what it has said, waiting so long for anything."""
        assert self._process.stdout is not None
        while not self.dead and select.select([self._process.stdout], [], [], seconds)[0]:
            read = os.read(self._process.stdout.fileno(), LINE)
            if not read:
                self._process.wait()  # from here on the kernel has killed all its cells
                self.dead = True
            *lines, self._rest = (self._rest + read).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
            seconds = 0.0

    def _take(self, said: dict[str, Any]) -> None:
        if "pid" in said:
            self._pids[said["job"]] = said["pid"]
        elif "code" in said:
            self.codes[said["job"]] = said["code"]
        else:
            self._first = said

    def _ask(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        line = memoryview(json.dumps(request).encode() + b"\n")
        with suppress(BrokenPipeError):  # read() finds out
            while line:
                line = line[os.write(self._process.stdin.fileno(), line) :]

    def _wait_for(self, condition: Any, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and not self.dead and time.monotonic() < deadline:
            self.read(0.2)

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        self._said.seek(0)
        return " ".join(self._said.read().decode(errors="replace").split())[-600:] or "it said nothing"

    def close(self) -> None:
        """It ends with its cells."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        try:
            self._process.wait(LAST_BREATH)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.dead = True
        self._said.close()
