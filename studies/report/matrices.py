"""What training on one domain does on another."""

import math

from ..analysis.analysis import Analysis, Matrix
from .cleaned import one_line
from .drawing import Drawing, extent
from .intervals import WIDTH
from .numbers import MISSING, decimals, plain

ROW, HEAD = 34.0, 58.0
STRONGEST = 0.75
"""Opacity of the best cell of a column; text stays readable on it."""


def matrices(analysis: Analysis) -> list[Drawing]:
    return [_figure(matrix, number) for number, matrix in enumerate(analysis.matrices, start=1)]


def _figure(matrix: Matrix, number: int) -> Drawing:
    """Rows are trained on, columns evaluated on; the darker the better within a column."""
    labels = [*matrix.rows, "untouched base"]
    room = min(200.0, max(extent(one_line(name), 12.5) for name in labels) + 4)
    wide = min(130.0, (WIDTH - room - 14) / len(matrix.columns))
    height = HEAD + ROW * len(labels) + 8
    title = f"{one_line(matrix.metric)} by training and test domain" + (
        f": {one_line(matrix.arm)}" if matrix.arm else ""
    )
    drawing = Drawing(f"transfer-{number}", title, one_line(matrix.sentence), WIDTH, height)
    digits = decimals(e for row in matrix.cells for e in row if e is not None)
    left = room + 14
    drawing.text(left, 12, f"evaluated on ({one_line(matrix.metric)}; the darker the better in its column)",
                 ink="dim", size=11)  # fmt: skip
    drawing.text(room, HEAD - 12, "trained on", anchor="end", ink="dim", size=11)
    for column, name in enumerate(matrix.columns):
        drawing.text(left + wide * (column + 0.5), HEAD - 12, one_line(name), room=wide - 6, anchor="middle", bold=True)
    for row, name in enumerate(labels):
        y = HEAD + ROW * (row + 0.5)
        drawing.text(room, y, one_line(name), room=room, anchor="end", bold=row < len(matrix.rows))
    for column in range(len(matrix.columns)):
        _column(drawing, matrix, column, (left + wide * column, wide), digits)
    return drawing


def _column(drawing: Drawing, matrix: Matrix, column: int, place: tuple[float, float], digits: int) -> None:
    left, wide = place
    found = [row[column] for row in matrix.cells]
    before = matrix.before[column] if column < len(matrix.before) else None
    values = [*(None if e is None else e.value for e in found), before]
    known = [v for v in values if v is not None and math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    for row, value in enumerate(values):
        top = HEAD + ROW * row
        if value is not None and math.isfinite(value) and high > low:
            share = (value - low) / (high - low)
            share = share if matrix.mode == "max" else 1 - share
            drawing.box(left + 1, top + 1, left + wide - 1, top + ROW - 1, "sky", 0.06 + (STRONGEST - 0.06) * share)
        text = MISSING if value is None else plain(value, digits)
        own = row < len(matrix.rows) and matrix.rows[row] == matrix.columns[column]
        estimate = found[row] if row < len(found) else None
        spread = estimate is not None and estimate.low is not None and estimate.high is not None
        drawing.text(left + wide / 2, top + ROW / 2 - (6 if spread else 0), text, anchor="middle", bold=own)
        if estimate is not None and estimate.low is not None and estimate.high is not None:
            half = (estimate.high - estimate.low) / 2
            drawing.text(left + wide / 2, top + ROW / 2 + 8, f"± {plain(half, digits)}", anchor="middle", ink="dim",
                         size=10)  # fmt: skip
