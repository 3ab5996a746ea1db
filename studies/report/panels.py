"""Small panels on a common vertical scale, one an arm."""

import math
from dataclasses import dataclass

from .axis import Scale, grid_across, grid_down
from .cleaned import one_line
from .drawing import Drawing
from .intervals import WIDTH

COLUMNS = 4
LEFT, RIGHT, TOP, BOTTOM = 40.0, 8.0, 36.0, 22.0
HEIGHT = 138.0
FOOT = 24.0


@dataclass(frozen=True)
class Panel:
    """Where a panel's data go: pixels of its frame."""

    left: float
    top: float
    right: float
    bottom: float


def sheet(name: str, title: str, description: str, count: int) -> Drawing:
    """An empty one with room for so many panels, a legend above and the name of the horizontal axis below."""
    return Drawing(name, title, description, WIDTH, FOOT + math.ceil(count / COLUMNS) * HEIGHT + FOOT)


def panel(index: int) -> Panel:
    """The frame of the panel at that place, row by row."""
    wide = WIDTH / COLUMNS
    left, top = (index % COLUMNS) * wide, FOOT + (index // COLUMNS) * HEIGHT
    return Panel(left + LEFT, top + TOP, left + wide - RIGHT, top + HEIGHT - BOTTOM)


def frame(drawing: Drawing, place: Panel, scales: tuple[Scale, Scale], heading: str, second: str = "") -> None:
    """Ticks, and up to two lines above.

    Args:
        drawing: it is drawn on.
        place: of the panel.
        scales: horizontal and vertical one.
        heading: in bold.
        second: below it.
    """
    x, y = scales
    room = place.right - place.left + LEFT - 8
    drawing.text(place.left - LEFT + 6, place.top - 25, one_line(heading), room=room, bold=True)
    drawing.text(place.left - LEFT + 6, place.top - 11, one_line(second), room=room, ink="dim", size=10.5)
    grid_across(drawing, y, place.left, place.right, count=3, size=10)
    grid_down(drawing, x, place.top, place.bottom, count=3, size=10)
