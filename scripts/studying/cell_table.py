"""Cells as rows: state, attempts, time, host."""

import time

from rich.table import Table
from rich.text import Text

from ...contracts.figures import duration
from ...contracts.run_config import printable
from ...studies.entry import Entry
from .board import SIGNS, WORDS, Board
from .labels import label

SHORT = 8
"""Characters of an id that tell cells apart and that ``--cell`` takes."""


def cell_table(board: Board) -> Table:
    """Without cells to which nothing has happened."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("id", no_wrap=True, style="dim")
    table.add_column("cell", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("attempts", justify="right")
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("host", overflow="fold", style="dim")
    for cell in board.planned:
        entry = board.entries.get(cell.id)
        if entry is None or (entry.state == "pending" and not entry.attempts):
            continue
        sign, style = SIGNS[entry.state]
        state = Text.assemble((sign, style), f" {WORDS[entry.state]}")
        name = Text(label(entry, board.study))
        if entry.reason and (entry.state == "failed" or (entry.state == "interrupted" and entry.failures)):
            name.append(
                f"\n{printable(f'{entry.reason}: {entry.message}')}", "red" if entry.state == "failed" else "dim"
            )
        table.add_row(entry.id[:SHORT], name, state, str(entry.attempts), taken(entry, board), entry.host)
    return table


def taken(entry: Entry, board: Board) -> str:
    """Seconds so far, and of a running cell those that it will take in all."""
    if entry.state != "running" or entry.started is None:
        return duration(entry.seconds) if entry.seconds else ""
    ran = duration(max(0.0, time.time() - entry.started))
    usual = board.seconds.get((entry.arm, entry.task))
    return ran if usual is None else f"{ran} of {duration(usual)}"
