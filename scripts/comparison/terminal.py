"""A comparison on a terminal: runs as columns while they fit, else a line each."""

from collections.abc import Sequence
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ...callbacks.factors import short_base
from ...contracts.inert import printable
from .compared_run import ComparedRun
from .comparison import Comparison
from .sheet import Row, Sheet

SIDE_BY_SIDE = 4
"""More runs than these stand below each other."""


def shown(comparison: Comparison, width: int) -> Group:
    """All of it.

    Args:
        comparison: of the runs.
        width: columns of the terminal.
    """
    beside = len(comparison.runs) <= SIDE_BY_SIDE
    parts: list[RenderableType] = [Rule(Text("finelab compare", style="bold cyan"), style="cyan"), Text("")]
    parts.append(legend(comparison.runs))
    for sheet in comparison.sheets():
        parts += [upright(sheet)] if beside else across(sheet, width)
        parts += [Padding(Text(note, style="dim"), (0, 2)) for note in sheet.notes]
    parts += [Text(""), *(Padding(points(comparison.said), (0, 2)),), Rule(style="cyan")]
    return Group(*parts)


def legend(runs: Sequence[ComparedRun]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    grid.add_column(style="dim", overflow="fold")
    for run in runs:
        record = run.record
        about = "" if record is None else f"{short_base(record.base)}, {record.started[:16].replace('T', ' ')} UTC"
        status = "" if run.state == "finished" else printable(run.state)
        said = Text.assemble((status, "bold yellow"), "; " if status and about else "", printable(about))
        grid.add_row(f"  {run.letter}", Text(printable(str(run.directory))), said)
    return grid


def upright(sheet: Sheet) -> Table:
    """A column for each run; the parts of one property under its label."""
    table = blank()
    parts = any(row.part for row in sheet.rows)
    table.add_column(Text(sheet.title), overflow="fold", max_width=44)
    if parts:
        table.add_column("")
    for letter in sheet.columns:
        table.add_column(letter, justify="right", overflow="fold")
    before = ""
    for row in sheet.rows:
        label = "" if parts and row.label == before else row.label
        before = row.label
        cells = [Text(cell, style=style_of(row, cell)) for cell in row.cells]
        table.add_row(Text(label), *([Text(row.part, style="dim")] if parts else []), *cells)
    return table


def across(sheet: Sheet, width: int) -> list[RenderableType]:
    """A line for each run, in as many tables as the width asks for; the parts of one property stay together."""
    tables: list[RenderableType] = []
    rows: list[Row] = []
    for _, group in groupby(sheet.rows, key=lambda row: row.label):
        added = [*rows, *group]
        if rows and Measurement.get(Console(), Console(width=500).options, lines(sheet, added)).maximum > width:
            tables.append(lines(sheet, rows))
            added = added[len(rows) :]
        rows = added
    return [*tables, lines(sheet, rows)] if rows else tables


def lines(sheet: Sheet, rows: Sequence[Row]) -> Table:
    table = blank()
    table.add_column(Text(sheet.title), no_wrap=True)
    for row in rows:
        table.add_column(Text("\n".join(filter(None, (row.label, row.part)))), justify="right", overflow="fold")
    for index, letter in enumerate(sheet.columns):
        table.add_row(letter, *(Text(row.cells[index], style=style_of(row, row.cells[index])) for row in rows))
    return table


def blank() -> Table:
    return Table(box=SIMPLE_HEAD, pad_edge=True, padding=(0, 1))


def style_of(row: Row, cell: str) -> str:
    """Green where a difference is for the better; no colour where nobody says which way is better."""
    if row.part == "tuned":
        return "bold"
    is_difference = row.part == "gain" or row.part.startswith("−")
    if not is_difference or row.label[-1:] not in "↑↓" or not cell[1:].strip("0.,"):
        return ""
    return "green" if cell.startswith("+") == row.label.endswith("↑") else "red"


def points(said: Sequence[str]) -> Table:
    grid = Table.grid(padding=(0, 1))
    for sentence in said:
        grid.add_row("→", Text(sentence))
    return grid
