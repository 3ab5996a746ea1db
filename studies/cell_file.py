"""``cell.json``: what is to be in a cell's folder, and what is."""

import json
from pathlib import Path
from typing import Any

from ..contracts.errors import UserError
from .cell import Cell

CELL_FILE = "cell.json"


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


def as_written(folder: Path, cell: Cell) -> Cell | None:
    """The same cell as it was written into its folder: of equal numbers, and perhaps of another configuration in what
    changes none, which the identity leaves out and the digest of a run's configuration does not.

    Returns:
        None where the folder holds none, or another cell.
    """
    try:
        found = read_cell(folder)
    except UserError:
        return None  # it is written again when it is due
    return found if found.id == cell.id else None


def _object(text: str) -> dict[str, Any]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    return content
