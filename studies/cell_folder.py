"""The folder of a cell: what its child needs, and what the truth on disk says of it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import yaml

from ..contracts.errors import UserError
from ..contracts.files import write_atomically
from ..contracts.record import RECORD_FILE, Record, read_record
from ..contracts.run_config import CONFIG_FILE
from ..contracts.run_lock import is_locked
from ..contracts.state_folder import latest_state
from .cell import Cell
from .cell_file import CELL_FILE, as_written
from .results import RUN, finished_record

LOG_FILE = "log.txt"
FROM_THE_START = ("finished", "failed: nonfinite", "failed: data", "failed: error")
"""Records of runs that would end the same way again, or are of another cell: a retry is a new run."""


@dataclass(frozen=True)
class Truth:
    """What files and locks say of a cell, whatever anybody remembers.

    Args:
        state: ``done``: a valid record of this very content says finished. ``held``: a process has its lock, or that
            of its run. ``failed``: a valid record says so. ``interrupted``: there is a training state to go on from.
        record: the valid one, of whatever status.
    """

    state: Literal["done", "held", "failed", "interrupted", "nothing"]
    record: Record | None = None


def truth_of(folder: Path, cell: Cell) -> Truth:
    """Args:
    folder: of the cell; it need not exist.
    cell: what has to be in it.
    """
    run = folder / RUN
    if (done := finished_record(cell, run)) is not None:
        return Truth("done", done)
    if is_held(folder):
        return Truth("held")
    record = record_in(run)
    if record is not None and record.status.startswith("failed"):
        return Truth("failed", record)
    return Truth("interrupted" if latest_state(run) is not None else "nothing", record)


def is_held(folder: Path) -> bool:
    """Whether some process works on the cell right now."""
    return is_locked(folder) or is_locked(folder / RUN)


def record_in(run: Path) -> Record | None:
    """The valid record of a run; None where there is none."""
    try:
        return read_record(run)
    except UserError:
        return None


def can_go_on(run: Path) -> bool:
    """Whether there is a training state, and its run did not end in a way that it would end in again."""
    return latest_state(run) is not None and not ends_the_same(record_in(run))


def ends_the_same(record: Record | None) -> bool:
    return record is not None and record.status in FROM_THE_START


def record_mark(folder: Path) -> str | None:
    """Of the record's file, so that one of an earlier attempt is not taken for that of a later one, which may say the
    same to the byte."""
    try:
        found = (folder / RUN / RECORD_FILE).stat()
    except OSError:
        return None
    return f"{found.st_mtime_ns}-{found.st_size}"


def write_cell(folder: Path, cell: Cell) -> None:
    """``cell.json`` and ``config.yaml``; nothing is written that is there already.

    A run that is gone on with keeps its configuration, also where the study's has since changed in what changes no
    number: its record will say the digest of what it began with.

    Raises:
        OSError: they cannot be written.
    """
    begun = as_written(folder, cell) if is_held(folder) or can_go_on(folder / RUN) else None
    if begun is not None:
        cell = replace(cell, config=begun.config, config_digest=begun.config_digest)
    place = {**cell.config.get("run", {}), "root": str(folder.absolute()), "name": RUN}
    config = {**cell.config, "run": place}
    _write(folder / CELL_FILE, json.dumps(cell.as_dict(), indent=1, ensure_ascii=False) + "\n")
    _write(folder / CONFIG_FILE, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def _write(path: Path, text: str) -> None:
    try:
        if path.read_bytes() == text.encode():
            return
    except FileNotFoundError:
        pass
    write_atomically(path, text)
