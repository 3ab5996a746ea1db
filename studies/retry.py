"""Another attempt for cells that have failed."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from ..contracts.errors import UserError
from .books import Books
from .entry import Entry
from .event_log import event
from .history import RETRY
from .ledger import Journal
from .study_lock import study_lock


def retry(folder: Path, cells: Sequence[str] = (), journal: Journal = "WAL") -> list[Entry]:
    """Let the next controller try them again, with all retries before them. What a failed run has left is used where
    it can go on; after a mistake in code or data, and after a loss that was no number, it is begun anew.

    Args:
        folder: of the study.
        cells: ids, or the beginning of one that is no other's; by default all that have failed.
        journal: of the ledger.

    Returns:
        Their rows.

    Raises:
        UserError: a controller runs the study, or a cell is not known, or has not failed.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist, so that nothing of this study has been run; finelab study run does.")
    with study_lock(folder):
        books = Books(folder, journal=journal)
        try:
            failed = {name: entry for name, entry in books.entries.items() if entry.state == "failed"}
            chosen = [_found(name, books.entries, failed) for name in cells] if cells else list(failed)
            return books.write([event(RETRY, cell=name) for name in chosen])
        finally:
            books.close()


def _found(name: str, known: dict[str, Entry], failed: dict[str, Entry]) -> str:
    matches = [identity for identity in known if identity.startswith(name)]
    if len(matches) == 1 and matches[0] in failed:
        return matches[0]
    if len(matches) == 1:
        state = known[matches[0]].state
        raise UserError(
            f"--cell {name} on the command line is {state}, and only a cell that has failed is tried again; finelab "
            "study run runs what is not done. To make a result anew, remove its folder "
            f"cells/{known[matches[0]].folder} first."
        )
    near = difflib.get_close_matches(name, list(failed), 1)
    hint = f"did you mean {near[0]}?" if near else "finelab study status lists them."
    what = "is the beginning of several cells" if matches else "is no cell of this study"
    raise UserError(f"--cell {name} on the command line {what}; {hint}")
