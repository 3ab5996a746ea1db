"""Whether something failed because there was no room."""

import shutil
import sqlite3
from pathlib import Path

from ..contracts.disk import NO_SPACE

LEAST = 2**20
"""Bytes; with fewer, a child could not even say what it died of."""


def is_full(error: OSError | sqlite3.Error) -> bool:
    """Of a file system or a quota."""
    if isinstance(error, OSError):
        return error.errno in NO_SPACE
    code = getattr(error, "sqlite_errorcode", None)
    # SQLite calls a write that the system refused in the middle of a page an I/O error.
    return code is not None and code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def has_no_room(folder: Path) -> bool:
    """Whether the file system of a folder is full, a quota apart."""
    try:
        return shutil.disk_usage(folder).free < LEAST
    except OSError:
        return False
