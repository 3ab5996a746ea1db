"""The folder of a cell: what its child needs, and what the truth on disk says of it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from ..contracts.errors import UserError
from ..contracts.files import write_atomically
from ..contracts.record import RECORD_FILE, Record, read_record
from ..contracts.run_config import CONFIG_FILE
from ..contracts.run_lock import is_locked
from ..contracts.state_folder import latest_state
from .cell import Cell
from .results import RUN, finished_record

CELL_FILE = "cell.json"
LOG_FILE = "log.txt"


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

    Raises:
        OSError: they cannot be written.
    """
    place = {**cell.config.get("run", {}), "root": str(folder.absolute()), "name": RUN}
    config = {**cell.config, "run": place}
    _write(folder / CELL_FILE, json.dumps(cell.as_dict(), indent=1, ensure_ascii=False) + "\n")
    _write(folder / CONFIG_FILE, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def read_cell(folder: Path) -> Cell:
    """Raises:
    UserError: there is no ``cell.json``, or not what was written.
    """
    path = folder / CELL_FILE
    try:
        return Cell.of(_object(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is not the cell of a study ({' '.join(str(error).split())[:200]}); finelab study run writes it "
            "again."
        ) from error


def _object(text: str) -> dict[str, Any]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    return content


def _write(path: Path, text: str) -> None:
    try:
        if path.read_bytes() == text.encode():
            return
    except FileNotFoundError:
        pass
    write_atomically(path, text)
