"""Two processes never write one run: whoever trains holds ``RUN/.lock`` for its life."""

import fcntl
import os
import socket
import time
import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from .errors import UserError

LOCK_FILE = ".lock"
LAST_BREATH = 10.0
"""Seconds until the worker processes of a killed run, which hold its lock too, have noticed."""
GLANCE = 0.3
"""Seconds for which a lock is tried again whoever holds it: ``is_locked`` of another process holds it for
microseconds, and the file then names nobody, or one who is long gone."""


class RunLock:
    """A lock that the kernel takes back when its holder dies, however that happens.

    The file stays; it names the holder while there is one. A file system that has no locks is told of, and trained on.

    Args:
        run: the run's directory; it exists.
        patience: seconds to wait for what a killed process has left running.
    """

    def __init__(self, run: Path, patience: float = LAST_BREATH) -> None:
        self.run, self.patience = run, patience
        self._handle: int | None = None

    def acquire(self) -> None:
        """Raises:
        UserError: another process holds it, or the directory cannot be written.
        """
        path = self.run / LOCK_FILE
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}), so that nothing can train there.") from error
        try:
            if not _locked(handle, self.patience, glance=GLANCE):
                holder = _holder(handle)
                os.close(handle)
                raise UserError(
                    f"{self.run} is being written by another process ({holder}), and two never write one run. Wait for "
                    "it, or stop it: after SIGTERM it saves and ends."
                )
        except OSError as error:
            warnings.warn(
                f"{path} could not be locked ({error.strerror}): nothing keeps a second process from writing this run, "
                "so start none. Where that matters, set run.root to a folder of a file system that has locks.",
                stacklevel=2,
            )
        os.truncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        self._handle = handle

    def release(self) -> None:
        """To be called by the process that acquired it; a second call does nothing."""
        if self._handle is None:
            return
        os.truncate(self._handle, 0)
        with suppress(OSError):  # where there are no locks; it was said at the start
            fcntl.flock(self._handle, fcntl.LOCK_UN)  # at once, also where a worker process still has a copy
        os.close(self._handle)
        self._handle = None

    def __enter__(self) -> "RunLock":
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_locked(run: Path) -> bool:
    """Whether some process is training in that directory right now, by its file where there are no locks; nothing is
    written."""
    try:
        handle = os.open(run / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _locked(handle, 0, fcntl.LOCK_SH)  # on NFS another lock takes the right to write
    except OSError:
        return bool(_read(handle)) and _holder_lives(handle)
    finally:
        os.close(handle)


def _locked(handle: int, patience: float, kind: int = fcntl.LOCK_EX, glance: float = 0.0) -> bool:
    """Waits for the remains of a holder that is gone, and ``glance`` seconds for any other.

    Raises:
        OSError: the file system has no locks.
    """
    started = time.monotonic()
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= started + (glance if _holder_lives(handle) else max(patience, glance)):
                return False
            time.sleep(0.02)
        else:
            return True


def _read(handle: int) -> list[str]:
    return os.pread(handle, 400, 0).decode(errors="replace").split()


def _holder(handle: int) -> str:
    pid, host = [*_read(handle), "", ""][:2]
    if not pid:
        return "which has not said its number yet"
    left = "" if _holder_lives(handle) else "; it is gone, but a process that it started still runs"
    return f"process {pid}" + (f" on {host}" if host != socket.gethostname() else "") + left


def _holder_lives(handle: int) -> bool:
    """As far as can be seen from here: of another host's process it is assumed."""
    pid, host = [*_read(handle), "", ""][:2]
    if not pid.isdigit() or host != socket.gethostname():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
