"""A drawing as PDF, on a light sheet."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from .drawing import INKS, Area, Drawing, Label, Line, Mark
from .svg import BASELINE, EDGE, outline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PIXELS, POINTS = 96, 72
"""To the inch."""
SMALLER = 0.95
"""Than in a browser: matplotlib brings DejaVu Sans along, a broad font."""


def as_pdf(drawing: Drawing) -> bytes:
    """No date is in it, so that equal figures are equal files. Signs that the font lacks become boxes."""
    import matplotlib
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure

    figure = Figure(((drawing.width + 2 * EDGE) / PIXELS, (drawing.height + 2 * EDGE) / PIXELS))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-EDGE, drawing.width + EDGE), ylim=(drawing.height + EDGE, -EDGE))
    axes.set_axis_off()
    for order, shape in enumerate(drawing.shapes):
        _draw(axes, shape, order)
    file = io.BytesIO()
    about = {"CreationDate": None, "Title": drawing.title}
    with matplotlib.rc_context({"pdf.fonttype": 42, "font.family": ["DejaVu Sans"]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        FigureCanvasPdf(figure).print_pdf(file, metadata=about)
    return file.getvalue()


def _draw(axes: Axes, shape: Line | Area | Mark | Label, order: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle, Polygon

    colour = INKS[shape.ink][0]
    match shape:
        case Line(points, _, width, dashed):
            how = (0, (4, 3)) if dashed else "-"
            x, y = zip(*points, strict=True)
            axes.add_line(Line2D(x, y, color=colour, linewidth=width * POINTS / PIXELS, linestyle=how, zorder=order))
        case Area(points, _, opacity):
            axes.add_patch(Polygon(points, facecolor=colour, alpha=opacity, linewidth=0, zorder=order))
        case Mark():
            face = INKS["back"][0] if shape.hollow else colour
            how = {"facecolor": face, "edgecolor": colour, "linewidth": 1.2 if shape.hollow else 0, "zorder": order}
            round_ = shape.shape == "circle"
            axes.add_patch(Circle(shape.at, shape.size, **how) if round_ else Polygon(outline(shape), **how))
        case Label(at, text, anchor, _, size, bold):
            place = {"start": "left", "middle": "center", "end": "right"}[anchor]
            points = size * SMALLER * POINTS / PIXELS
            axes.text(at[0], at[1] + BASELINE * size, text, ha=place, va="baseline", size=points, color=colour,
                      weight="bold" if bold else "normal", parse_math=False, zorder=order)  # fmt: skip
