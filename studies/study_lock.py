"""One controller per study."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..contracts.errors import UserError
from ..contracts.run_lock import LOCK_FILE, RunLock, is_locked


@contextmanager
def study_lock(folder: Path) -> Iterator[None]:
    """Held while somebody starts cells, or changes what is to be started.

    Args:
        folder: of the study; it exists.

    Raises:
        UserError: another process holds it.
    """
    lock = RunLock(folder)
    try:
        lock.acquire()
    except UserError as error:
        if not is_locked(folder):
            raise
        pid, host = [*(folder / LOCK_FILE).read_text().split(), "?", "?"][:2]
        raise UserError(
            f"The study in {folder} is being run by process {pid} on {host}, and one controller at a time starts its "
            "cells. finelab study status shows how far it is; Ctrl-C there, or SIGTERM, stops it cleanly."
        ) from error
    try:
        yield
    finally:
        lock.release()
