"""Rows of a point with its interval on a common scale, which forest plots and plots by task are made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..analysis.analysis import Estimate
from .axis import grid_down, scale_of
from .drawing import Drawing, Ink, Mark, Shape, extent

WIDTH = 760.0
LONGEST_LABEL, LONGEST_NOTE = 250.0, 220.0
GAP = 14.0


@dataclass(frozen=True)
class Look:
    """How a point is drawn, in colour and in shape."""

    shape: Shape
    ink: Ink
    hollow: bool = False


@dataclass(frozen=True)
class IntervalRow:
    """One line of the figure.

    Args:
        label: on the left.
        estimate: None for a line without a point.
        look: of the point.
        note: on the right.
        dots: single values around it.
        strong: set in bold.
    """

    label: str
    estimate: Estimate | None
    look: Look
    note: str = ""
    dots: tuple[float, ...] = ()
    strong: bool = False


@dataclass(frozen=True)
class Group:
    """Rows under a heading; none is written where it is empty."""

    heading: str
    rows: Sequence[IntervalRow]


@dataclass(frozen=True)
class Axis:
    """What the rows lie on.

    Args:
        title: below it.
        zero: whether 0 is marked: of differences.
        band: values on both sides of 0 that count as none.
        ends: what it means to lie on the left and on the right; empty where that is not said.
        legend: looks and their words, above the rows.
    """

    title: str
    zero: bool = False
    band: float | None = None
    ends: tuple[str, str] = ("", "")
    legend: tuple[tuple[Look, str], ...] = ()


def interval_plot(name: str, title: str, description: str, groups: Sequence[Group], axis: Axis) -> Drawing:
    """Points with intervals, one row each.

    Args:
        name: of the figure's files.
        title: what it is.
        description: in words.
        groups: of rows.
        axis: what they lie on.
    """
    rows = [row for group in groups for row in group.rows]
    pitch = 23.0 if len(rows) <= 60 else 18.0
    headings = sum(bool(group.heading) for group in groups)
    top = (30.0 if axis.legend else 8.0) + 4.0
    bottom = top + pitch * (len(rows) + headings)
    drawing = Drawing(name, title, description, WIDTH, bottom + (58.0 if any(axis.ends) else 42.0))
    label_room = min(LONGEST_LABEL, max(extent(row.label, 12.5) for row in rows) + 4)
    note_room = min(LONGEST_NOTE, max(extent(row.note, 11) for row in rows) + 2)
    left, right = label_room + GAP, WIDTH - (note_room + GAP if note_room > 2 else 8.0)
    values = [v for row in rows for v in _values(row)] + ([-axis.band, axis.band] if axis.band else [])
    scale = scale_of(values, left, right, whole=axis.zero)
    _behind(drawing, axis, scale, top, bottom)
    y = top
    for group in groups:
        if group.heading:
            drawing.text(0, y + pitch / 2 + 2, group.heading, room=right, bold=True)
            y += pitch
        for row in group.rows:
            _row(drawing, row, scale, y + pitch / 2, (label_room, WIDTH, note_room))
            y += pitch
    _around(drawing, axis, scale, bottom)
    return drawing


def _values(row: IntervalRow) -> list[float]:
    if row.estimate is None:
        return list(row.dots)
    found = (row.estimate.value, row.estimate.low, row.estimate.high)
    return [*row.dots, *(v for v in found if v is not None)]


def _behind(drawing: Drawing, axis: Axis, scale, top: float, bottom: float) -> None:
    if axis.band:
        drawing.box(scale.at(-axis.band), top, scale.at(axis.band), bottom, "band")
    grid_down(drawing, scale, top, bottom, count=max(2, int((scale.end - scale.start) / 80)))
    if axis.zero:
        drawing.line([(scale.at(0), top), (scale.at(0), bottom)], "ink", 1.2)


def _row(drawing: Drawing, row: IntervalRow, scale, y: float, rooms: tuple[float, float, float]) -> None:
    label_room, end, note_room = rooms
    drawing.text(label_room, y, row.label, room=label_room, anchor="end", bold=row.strong)
    drawing.text(end, y, row.note, room=note_room, anchor="end", ink="dim", size=11)
    for value in filter(math.isfinite, row.dots):
        drawing.shapes.append(Mark((scale.at(value), y), "circle", "dim", 2.4, says=f"{value:.6g}"))
    found = row.estimate
    if found is None or not math.isfinite(found.value):
        return
    if found.low is not None and found.high is not None:
        drawing.line([(scale.at(found.low), y), (scale.at(found.high), y)], row.look.ink, 2.2)
    at = (scale.at(found.value), y)
    drawing.shapes.append(Mark(at, row.look.shape, row.look.ink, 5, row.look.hollow, f"{row.label}: {row.note}"))


def _around(drawing: Drawing, axis: Axis, scale, bottom: float) -> None:
    middle = (scale.start + scale.end) / 2
    if any(axis.ends):
        zero = min(max(scale.at(0), scale.start + 75), scale.end - 75)
        drawing.text(zero - 10, bottom + 27, f"← {axis.ends[0]}", anchor="end", ink="dim", size=11)
        drawing.text(zero + 10, bottom + 27, f"{axis.ends[1]} →", ink="dim", size=11)
        drawing.text(middle, bottom + 46, axis.title, room=scale.end - scale.start + 120, anchor="middle")
    else:
        drawing.text(middle, bottom + 30, axis.title, room=scale.end - scale.start + 120, anchor="middle")
    x = 6.0
    for look, word in axis.legend:
        drawing.shapes.append(Mark((x, 12), look.shape, look.ink, 5, look.hollow))
        drawing.text(x + 10, 12, word, ink="dim", size=11)
        x += 28 + extent(word, 11)
