"""What a study's cells have left behind. Only a valid record of this very content counts."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..contracts.errors import UserError
from ..contracts.record import RECORD_FILE, Record, read_record
from .cell import Cell
from .cell_file import as_written

CELLS, RUN = "cells", "run"


@dataclass(frozen=True)
class CellResult:
    """A finished cell.

    Args:
        cell: what it was run for.
        record: of its run.
        directory: of its run; per-example files are read from there when they are needed.
    """

    cell: Cell
    record: Record
    directory: Path


def read_results(folder: Path, cells: Iterable[Cell]) -> list[CellResult]:
    """Of those that are done, in their order.

    Args:
        folder: of the study.
        cells: of its plan.
    """
    found, folders = [], cell_folders(folder)
    for cell in cells:
        if cell.id not in folders:
            continue
        directory = folders[cell.id] / RUN
        record = finished_record(cell, directory)
        if record is not None:
            found.append(CellResult(cell, record, directory))
    return found


def cell_folders(folder: Path) -> dict[str, Path]:
    """Id -> folder of every cell of a study that has one. An arm that the study has called otherwise before has it
    under its former name."""
    if not (folder / CELLS).is_dir():
        return {}
    with os.scandir(folder / CELLS) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    return {name.rpartition("-")[2]: folder / CELLS / name for name in names}


def finished_record(cell: Cell, directory: Path) -> Record | None:
    """The record of a cell that is done; None of one that is not: no valid record, another status, configuration or
    seeds. A configuration may be that of the folder's ``cell.json`` instead, if it is of the same identity: what has
    changed since then changes no number.

    Args:
        cell: that is asked for.
        directory: of its run, in its folder.
    """
    if not (directory / RECORD_FILE).is_file():
        return None
    try:
        record = read_record(directory)
    except UserError:
        return None  # not valid is not done, whatever is wrong with it
    if record.status != "finished" or record.seeds != cell.seeds.as_dict():
        return None
    if record.config_digest == cell.config_digest:
        return record
    written = as_written(directory.parent, cell)
    return record if written is not None and record.config_digest == written.config_digest else None
