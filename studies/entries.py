"""Where the cells of a study stand, for whoever asks."""

import dataclasses
from pathlib import Path

from ..contracts.run_lock import is_locked
from .books import Books
from .entry import Entry
from .ledger import read_ledger


def entries_of(folder: Path) -> list[Entry]:
    """Of all cells that have a folder or a row; nothing is written.

    While a controller runs, as its ledger says; otherwise as records, locks and the log of events do.

    Args:
        folder: of the study; it need not exist.
    """
    if is_locked(folder) and (rows := read_ledger(folder)):
        return rows
    books = Books(folder, writes=False)
    held = {cell.id for cell in books.held}
    for entry in books.entries.values():
        if entry.id in held:
            books.entries[entry.id] = dataclasses.replace(entry, state="running")
        elif entry.state == "running":  # its controller is gone
            books.entries[entry.id] = dataclasses.replace(entry, state="interrupted")
    return list(books.entries.values())
