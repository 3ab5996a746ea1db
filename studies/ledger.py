"""The state of every cell in one SQLite file: a cache for whoever looks at a study while it runs.

Truth is the cells' records and locks, memory is ``events.jsonl``; the ledger is made from both at every start.
"""

import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import astuple, fields
from pathlib import Path
from typing import Literal

from .entry import Entry

LEDGER_FILE = "ledger.db"
Journal = Literal["WAL", "DELETE"]
"""With WAL readers never wait, but its index is shared memory, which a file system of several hosts has not
(https://sqlite.org/wal.html, section 1)."""
COLUMNS = [item.name for item in fields(Entry)]
SCHEMA = f"CREATE TABLE cells ({', '.join(COLUMNS)}, PRIMARY KEY (id))"
PUT = f"INSERT OR REPLACE INTO cells VALUES ({', '.join('?' * len(COLUMNS))})"


class Ledger:
    """Written by one process, read by any.

    Args:
        folder: of the study; it exists.
        journal: how SQLite keeps a transaction whole.
    """

    def __init__(self, folder: Path, journal: Journal = "WAL") -> None:
        self.path = folder / LEDGER_FILE
        self.put_aside = not self._is_whole()
        """Whether a damaged one was found and renamed."""
        if self.put_aside:
            self._put_aside()
        self._connection = sqlite3.connect(self.path, isolation_level=None)
        self._connection.execute(f"PRAGMA journal_mode={journal}")
        self._connection.execute("PRAGMA synchronous=FULL")

    def replace(self, entries: Iterable[Entry]) -> None:
        """All rows, in one transaction: a reader sees the former ones or these.

        Raises:
            sqlite3.Error: e.g. the disk is full; the former rows stand.
        """
        with self._transaction():
            self._connection.execute("DROP TABLE IF EXISTS cells")  # of whatever version it is
            self._connection.execute(SCHEMA)
            self._connection.executemany(PUT, [astuple(entry) for entry in entries])

    def put(self, entries: Iterable[Entry]) -> None:
        """Some rows, likewise."""
        with self._transaction():
            self._connection.executemany(PUT, [astuple(entry) for entry in entries])

    def close(self) -> None:
        self._connection.close()

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._connection)

    def _is_whole(self) -> bool:
        if not self.path.exists():
            return True
        try:
            with closing(sqlite3.connect(self.path)) as connection:
                return integrity(connection) == "ok"
        except sqlite3.DatabaseError:
            return False

    def _put_aside(self) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.path.rename(self.path.with_name(f"{LEDGER_FILE}.damaged-{stamp}"))
        for end in ("-wal", "-shm"):
            self.path.with_name(LEDGER_FILE + end).unlink(missing_ok=True)


def journal_for(engine: str) -> Journal:
    """Args:
    engine: name of the one that runs the study; but for ``local`` they need a file system that hosts share.
    """
    return "WAL" if engine == "local" else "DELETE"


class _Transaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._connection.execute("COMMIT")
                return
            except sqlite3.Error:
                self._roll_back()
                raise
        self._roll_back()

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # SQLite has done it by itself after some faults
            self._connection.execute("ROLLBACK")


def integrity(connection: sqlite3.Connection) -> str:
    """``ok``, or what is wrong."""
    return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


def read_ledger(folder: Path) -> list[Entry]:
    """The rows as they stand; none of a study without a ledger, and of one that is damaged or of another version.

    Args:
        folder: of the study.
    """
    path = folder / LEDGER_FILE
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM cells").fetchall()
    except sqlite3.DatabaseError:
        return []  # a cache: entries_of makes the rows anew
    return [Entry(*row) for row in rows]
