"""What a controller writes down: events first, then the ledger made of them."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..contracts.errors import UserError
from ..contracts.record import Record
from .cell import Cell
from .cell_file import read_cell
from .cell_folder import truth_of
from .entry import Entry
from .event_log import Event, EventLog, event
from .history import DONE, LOST, History
from .ledger import Journal, Ledger
from .results import CELLS, cell_folders

EVENTS_FILE = "events.jsonl"


class Books:
    """All that is known of a study's cells, from the disk when it is made, and kept up from then on.

    Args:
        folder: of the study; it need not exist where nothing is written.
        writes: False for a look that changes nothing.
        journal: of the ledger.
    """

    def __init__(self, folder: Path, writes: bool = True, journal: Journal = "WAL") -> None:
        self.folder = folder
        self.log = EventLog(folder / EVENTS_FILE)
        self.histories: dict[str, History] = {}
        self.cells: dict[str, Cell] = {}
        self.finished: dict[str, Record] = {}
        """Records of all cells that are done, whether or not the study still plans them."""
        self.held: list[Cell] = []
        """Cells that some other process works on."""
        self.entries: dict[str, Entry] = {}
        self._places = cell_folders(folder)
        self._ledger = Ledger(folder, journal) if writes else None
        for happened in self.log.read():
            if isinstance(identity := happened.get("cell"), str):
                self.history(identity).add(happened)
        self._look_at_the_disk(writes)

    def history(self, identity: str) -> History:
        return self.histories.setdefault(identity, History())

    def place(self, cell: Cell) -> Path:
        """The folder of a cell, also where an earlier version of the study called its arm otherwise."""
        return self._places.setdefault(cell.id, self.folder / CELLS / cell.folder_name)

    def expect(self, cells: Iterable[Cell]) -> None:
        """Cells that are due; those that nothing is known of yet get a row each."""
        new = [cell for cell in cells if self.cells.get(cell.id) != cell]
        for cell in new:
            self.cells[cell.id] = cell
        self._put(new)

    def write(self, events: Iterable[Event]) -> list[Entry]:
        """Events of cells that are known: to the log, then into the ledger.

        Returns:
            the rows that have changed.

        Raises:
            OSError, sqlite3.Error: the disk is full; what is not in the log has not happened.
        """
        events = list(events)
        self.log.append(events)
        for happened in events:
            self.history(happened["cell"]).add(happened)
        return self._put([self.cells[identity] for identity in dict.fromkeys(found["cell"] for found in events)])

    def note(self, happened: Event) -> None:
        """An event of the study as a whole."""
        self.log.append([happened])

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()

    def _put(self, cells: Iterable[Cell]) -> list[Entry]:
        changed = [self._entry(cell) for cell in cells]
        self.entries |= {entry.id: entry for entry in changed}
        if self._ledger is not None and changed:
            self._ledger.put(changed)
        return changed

    def _entry(self, cell: Cell) -> Entry:
        return Entry.of(cell, self.place(cell).name, self.history(cell.id))

    def _look_at_the_disk(self, writes: bool) -> None:
        """Done is what a valid record says, and nothing else."""
        for identity, place in self._places.items():
            with suppress(UserError):  # a damaged cell.json: the cell is written again when it is due
                cell = read_cell(place)
                if cell.id == identity:  # or else somebody has renamed or copied the folder: it is nobody's
                    self.cells[identity] = cell
        found = [event(LOST, cell=identity, message="Its folder was removed.") for identity in self._gone()]
        for cell in self.cells.values():
            truth, last = truth_of(self._places[cell.id], cell), self.history(cell.id).last
            if truth.state == "done" and truth.record is not None:
                self.finished[cell.id] = truth.record
                if last != DONE:
                    found.append(event(DONE, cell=cell.id, found=True))
            elif truth.state == "held":
                self.held.append(cell)
            elif last == DONE:
                found.append(event(LOST, cell=cell.id, message="Its record is no longer there, or no longer valid."))
        if writes:
            self.log.append(found)
        for happened in found:
            self.history(happened["cell"]).add(happened)
        self.entries = {cell.id: self._entry(cell) for cell in self.cells.values()}
        if self._ledger is not None:
            self._ledger.replace(self.entries.values())

    def _gone(self) -> list[str]:
        return [name for name, history in self.histories.items() if history.last == DONE and name not in self.cells]
