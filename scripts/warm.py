"""``finelab cells``: imports all that a fit needs once, then forks a process for each cell that it is asked for.

Imports cost more than a small cell itself. Of a cell nothing reaches another one: the server only imports and forks; no
base is kept in memory either, since reading one again from the page cache costs tenths of a second.

Requests are JSON lines on stdin, answers JSON lines on stdout:

- ``{"job": 1, "words": ["cell", FOLDER], "log": FILE, "environment": {...}}`` is answered by ``{"job": 1, "pid": N}``
  and, when it has ended, ``{"job": 1, "code": N}``, negative of the signal that killed it;
- ``{"job": 1, "signal": 15, "group": false}`` sends a signal, and nothing where the job has ended;
- the first answer is ``{"ready": PID}`` or ``{"unsafe": REASON}``; the end of stdin ends the server and all cells.
"""

import gc
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..contracts.parent_death import PARENT, die_with_parent

BACKGROUND = "jemalloc_bg_thd"
"""The thread that pyarrow's allocator starts, and starts again by itself in a forked process."""
LINE = 1 << 16


def run_cells() -> int:
    """The command: in the server until stdin ends; in a cell's process the exit code of that cell."""
    die_with_parent()
    server = WarmServer(os.dup(0), os.dup(1))
    os.dup2(2, 1)  # whatever an import prints is no answer
    unsafe = import_all()
    if unsafe is not None:
        server.answer({"unsafe": unsafe})
        return 1
    words = server.serve()
    if words is None:
        return 0
    from .cli import run_command

    sys.argv[1:] = words  # from which Lightning starts further ranks
    return run_command(words)


def import_all() -> str | None:
    """What every fit imports; no thread pool, no CUDA context and no loader's process exists afterwards.

    Returns:
        Why no process may be forked from here; None where all is well.
    """
    import numpy  # noqa: F401
    import scipy.linalg  # noqa: F401

    known = threads()  # OpenBLAS's, which it stops before a fork and starts after it
    import matplotlib.backends.backend_agg  # noqa: F401
    import tensorboard.plugins.hparams.metadata  # noqa: F401
    import torch

    from . import lightning_cli  # noqa: F401

    more = sorted(name for thread, name in threads().items() if thread not in known and name != BACKGROUND)
    if more:
        return f"the imports have started threads ({', '.join(more)}), of which a forked process knows nothing"
    if torch.cuda.is_initialized() or in_a_fork(torch.cuda._is_in_bad_fork):
        return "the imports have initialised CUDA, which works in no forked process"
    gc.collect()
    gc.freeze()  # else every collection of a cell would copy all of it
    return None


def threads() -> dict[str, str]:
    """Number -> name of each thread of this process but the first."""
    found = {}
    for thread in os.listdir("/proc/self/task"):
        with suppress(FileNotFoundError), open(f"/proc/self/task/{thread}/comm") as name:
            found[thread] = name.read().strip()
    found.pop(str(os.getpid()), None)
    return found


def in_a_fork(question: Any) -> bool:
    """What a process forked now would say."""
    pid = os.fork()
    if pid == 0:
        os._exit(bool(question()))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0


class WarmServer:
    """Forks, signals and reaps; runs nothing itself.

    Args:
        requests: file descriptor to read from.
        answers: file descriptor to write to.
    """

    def __init__(self, requests: int, answers: int) -> None:
        self.requests, self.answers = requests, answers
        self.jobs: dict[int, int] = {}
        """Job -> process that has not been reaped."""

    def answer(self, said: dict[str, Any]) -> None:
        os.write(self.answers, json.dumps(said).encode() + b"\n")

    def serve(self) -> list[str] | None:
        """Until stdin ends.

        Returns:
            In a forked process, the words of its command; None in the server.
        """
        ended, wake = socket.socketpair()
        for end in (ended, wake):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self.answer({"ready": os.getpid()})
        for line in self._lines(ended):
            request = json.loads(line)
            if "signal" in request:
                self._signal(request)
            elif self._fork(request["job"]) == 0:
                for end in (ended, wake):
                    end.close()
                become_cell(request)
                return request["words"]
        for pid in self.jobs.values():
            signal_group(pid, signal.SIGKILL)
        return None

    def _lines(self, ended: socket.socket) -> Iterator[bytes]:
        """Whole requests as they come; reaps between them."""
        selector, rest = selectors.DefaultSelector(), b""
        with selector:
            selector.register(self.requests, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if ended in ready:
                    ended.recv(LINE)
                    self._reap()
                if self.requests in ready:
                    read = os.read(self.requests, LINE)
                    if not read:
                        return
                    *lines, rest = (rest + read).split(b"\n")
                    yield from lines

    def _fork(self, job: int) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        server = os.getpid()
        with all_signals_blocked():
            pid = os.fork()
            if pid == 0:
                os.environ[PARENT] = str(server)
                forget_the_server()
                for handle in (self.requests, self.answers):
                    os.close(handle)
                return 0
        with suppress(OSError):  # the child does it too: whoever comes first
            os.setpgid(pid, pid)
        self.jobs[job] = pid
        self.answer({"job": job, "pid": pid})
        return pid

    def _signal(self, request: dict[str, Any]) -> None:
        pid = self.jobs.get(request["job"])
        if pid is None:
            return
        if request["group"]:
            signal_group(pid, request["signal"])
        else:
            os.kill(pid, request["signal"])  # it is not reaped, so that the number is still its own

    def _reap(self) -> None:
        for job, pid in list(self.jobs.items()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            signal_group(pid, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            del self.jobs[job]
            self.answer({"job": job, "code": code})


def signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


@contextmanager
def all_signals_blocked() -> Iterator[None]:
    """Else a signal could meet a forked process that still has the server's handlers."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def forget_the_server() -> None:
    """A process group of its own, and what a fresh interpreter does with signals."""
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it from birth on


def become_cell(request: dict[str, Any]) -> None:
    """Make a forked process what a fresh interpreter with these words would be."""
    import numpy
    import torch

    parent = os.environ[PARENT]
    for path, flags, targets in (
        (os.devnull, os.O_RDONLY, (0,)),
        (request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, (1, 2)),
    ):
        handle = os.open(path, flags, 0o666)
        for target in targets:
            os.dup2(handle, target)
        os.close(handle)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.environ[PARENT] = parent
    die_with_parent()
    # seeded by the system in every fresh interpreter; random does it by itself
    numpy.random.seed()
    torch.default_generator.seed()
