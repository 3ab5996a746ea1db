"""A figure before it is a file: shapes on a sheet whose origin is at the upper left, in pixels of 1/96 inch.

The page, the SVG files and the PDF files are made of the same description.
"""

import unicodedata
from dataclasses import dataclass, field
from typing import Literal

Ink = Literal["ink", "dim", "line", "band", "back", "blue", "orange", "green", "vermilion", "purple", "sky", "yellow"]
Shape = Literal["circle", "square", "diamond", "up", "down", "cross", "bar", "star"]
COLOURS: tuple[Ink, ...] = ("blue", "vermilion", "green", "purple", "orange", "sky", "ink")
"""Okabe and Ito's, which colour-blind readers tell apart; each goes with its own shape."""
SHAPES: tuple[Shape, ...] = ("circle", "up", "square", "down", "diamond", "star", "cross")
INKS: dict[Ink, tuple[str, str]] = {
    "ink": ("#1c2330", "#e6e9ef"),
    "dim": ("#5c6675", "#9aa4b2"),
    "line": ("#d8dde5", "#39424f"),
    "band": ("#e8ecf2", "#252c36"),
    "back": ("#ffffff", "#14181f"),
    "blue": ("#0072b2", "#56a8e4"),
    "orange": ("#e69f00", "#f0b43c"),
    "green": ("#009e73", "#2cc79a"),
    "vermilion": ("#d55e00", "#ff8a3d"),
    "purple": ("#b3589a", "#e39bc6"),
    "sky": ("#56b4e9", "#8fd0f5"),
    "yellow": ("#f0e442", "#f0e442"),
}
"""On a light and on a dark sheet."""
Pair = tuple[float, float]
NARROW, BROAD = frozenset("iljtfrI.,:;'|!()[] "), frozenset("mwMW@%—")


@dataclass(frozen=True)
class Line:
    points: tuple[Pair, ...]
    ink: Ink
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    points: tuple[Pair, ...]
    ink: Ink
    opacity: float = 1.0


@dataclass(frozen=True)
class Mark:
    """A point of data; ``says`` is shown when one points at it."""

    at: Pair
    shape: Shape
    ink: Ink
    size: float = 4.0
    hollow: bool = False
    says: str = ""


@dataclass(frozen=True)
class Label:
    """Text whose middle line is at ``at``; ``says`` is what was shortened."""

    at: Pair
    text: str
    anchor: Literal["start", "middle", "end"] = "start"
    ink: Ink = "ink"
    size: float = 12.0
    bold: bool = False
    says: str = ""


@dataclass
class Drawing:
    """One figure.

    Args:
        name: of its files.
        title: what it is.
        description: what it shows, in words, for whoever does not see it.
        width: of the sheet.
        height: of it.
        shapes: later ones lie above earlier ones.
    """

    name: str
    title: str
    description: str
    width: float
    height: float
    shapes: list[Line | Area | Mark | Label] = field(default_factory=list)

    def line(self, points: list[Pair], ink: Ink = "ink", width: float = 1.0, dashed: bool = False) -> None:
        self.shapes.append(Line(tuple(points), ink, width, dashed))

    def box(self, left: float, top: float, right: float, bottom: float, ink: Ink, opacity: float = 1.0) -> None:
        self.shapes.append(Area(((left, top), (right, top), (right, bottom), (left, bottom)), ink, opacity))

    def text(self, x: float, y: float, text: str, room: float | None = None, **how: object) -> None:
        """Write a line; what does not fit into ``room`` pixels loses its middle."""
        label = Label((x, y), text, **how)  # pyright: ignore[reportArgumentType]
        short = text if room is None else shortened(text, room, label.size)
        says = text if short != text else label.says
        self.shapes.append(Label(label.at, short, label.anchor, label.ink, label.size, label.bold, says))


def extent(text: str, size: float = 12.0) -> float:
    """About how many pixels wide a line is at most: in DejaVu Sans, one of the broadest fonts."""
    return sum(map(_width, text)) * size


def shortened(text: str, room: float, size: float = 12.0) -> str:
    """The beginning and the end of a text that is too long; arms of a study often differ in their last words."""
    text = text[:1000]
    if extent(text, size) <= room:
        return text
    keep = len(text)
    while keep > 2:
        keep -= max(1, keep // 20)
        short = f"{text[: keep - keep // 2].rstrip()}…{text[len(text) - keep // 2 :].lstrip()}"
        if extent(short, size) <= room:
            return short
    return "…"


def _width(char: str) -> float:
    if char in NARROW:
        return 0.36
    if char in BROAD:
        return 0.97
    if unicodedata.east_asian_width(char) in "WF":
        return 1.0
    return 0.7 if char.isupper() else 0.62
