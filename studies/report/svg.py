"""A drawing as SVG: shapes and classes, no script, no link, no number that is not needed."""

import re
from html import escape

from .drawing import INKS, Area, Drawing, Label, Line, Mark, Pair, Shape

FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
BASELINE = 0.35
"""Of the size of a text, from its middle down to its base line."""
EDGE = 8.0
"""White around a figure in a file of its own."""
OUTLINES: dict[Shape, tuple[Pair, ...]] = {
    "square": ((-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)),
    "diamond": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    "up": ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
    "down": ((0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
    "star": ((0, -1.4), (0.4, -0.45), (1.35, -0.4), (0.6, 0.2), (0.85, 1.15), (0, 0.6), (-0.85, 1.15), (-0.6, 0.2),
             (-1.35, -0.4), (-0.4, -0.45)),
    "bar": ((-0.3, -1.6), (0.3, -1.6), (0.3, 1.6), (-0.3, 1.6)),
    "cross": ((-1, -0.5), (-0.5, -1), (0, -0.5), (0.5, -1), (1, -0.5), (0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5),
              (-0.5, 1), (-1, 0.5), (-0.5, 0)),
}  # fmt: skip
"""Of radius 1, around 0."""
INSIDE = " ".join(
    [
        f".fig text{{font:12px {FONT};fill:var(--ink)}}",
        ".fig path{fill:none}",
        ".fig .b{font-weight:600}.fig .m{text-anchor:middle}.fig .e{text-anchor:end}.fig .d{stroke-dasharray:4 3}",
        *(f".fig .l-{ink}{{stroke:var(--{ink})}}.fig .f-{ink}{{fill:var(--{ink})}}" for ink in INKS),
        *(f".fig .h-{ink}{{stroke:var(--{ink});stroke-width:1.6;fill:var(--back)}}" for ink in INKS),
    ]
)
"""Style of every figure, once a page."""
VARIABLE = re.compile(r"var\(--(\w+)\)")
LIGHT: dict[str, str] = {ink: light for ink, (light, _) in INKS.items()}
"""Instead of variables in a file of its own, which few programs but browsers know."""


def colours(dark: bool) -> str:
    return "".join(f"--{ink}:{pair[dark]};" for ink, pair in INKS.items())


def as_svg(drawing: Drawing, alone: bool = False) -> str:
    """Args:
    drawing: to be written.
    alone: as a file of its own, with its style and on a white sheet, rather than inside of a page.
    """
    edge = EDGE if alone else 0.0
    wide, high = _number(drawing.width + 2 * edge), _number(drawing.height + 2 * edge)
    box = f'viewBox="{_number(-edge)} {_number(-edge)} {wide} {high}"'
    label = f'role="img" aria-label="{escape(f"{drawing.title}. {drawing.description}")}"'
    inside = "".join(map(_shape, drawing.shapes))
    if not alone:
        return f'<svg class="fig" {box} {label}>{inside}</svg>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="fig" width="{wide}" height="{high}" {box} {label}>'
    title = f"<title>{escape(drawing.title)}</title>"
    style = f"<style>{VARIABLE.sub(lambda found: LIGHT[found[1]], INSIDE)}</style>"
    back = f'<rect x="{-edge:g}" y="{-edge:g}" width="{wide}" height="{high}" class="f-back"/>'
    return f"{head}{title}{style}{back}{inside}</svg>\n"


def outline(mark: Mark) -> list[Pair]:
    """Corners of a mark that is no circle."""
    x, y = mark.at
    return [(x + mark.size * dx, y + mark.size * dy) for dx, dy in OUTLINES[mark.shape]]


def _shape(shape: Line | Area | Mark | Label) -> str:
    match shape:
        case Line(points, ink, width, dashed):
            wide = "" if width == 1 else f' stroke-width="{_number(width)}"'
            return f'<path class="l-{ink}{" d" if dashed else ""}"{wide} d="{_path(points)}"/>'
        case Area(points, ink, opacity):
            clear = "" if opacity == 1 else f' fill-opacity="{opacity:.2f}"'
            return f'<path class="f-{ink}"{clear} d="{_path(points)}z"/>'
        case Mark():
            return _mark(shape)
        case Label():
            return _label(shape)


def _mark(mark: Mark) -> str:
    style = f'class="{"h" if mark.hollow else "f"}-{mark.ink}"'
    if mark.shape == "circle":
        x, y = mark.at
        tag, place = "circle", f'cx="{_number(x)}" cy="{_number(y)}" r="{_number(mark.size)}"'
    else:
        tag, place = "path", f'd="{_path(outline(mark))}z"'
    return f"<{tag} {style} {place}>{_title(mark.says)}</{tag}>" if mark.says else f"<{tag} {style} {place}/>"


def _label(label: Label) -> str:
    names = [{"start": "", "middle": "m", "end": "e"}[label.anchor], "b" if label.bold else ""]
    names.append("" if label.ink == "ink" else f"f-{label.ink}")
    style = f' class="{" ".join(filter(None, names))}"' if any(names) else ""
    size = "" if label.size == 12 else f' style="font-size:{_number(label.size)}px"'
    x, y = label.at
    place = f'x="{_number(x)}" y="{_number(y + BASELINE * label.size)}"'
    return f"<text{style}{size} {place}>{escape(label.text)}{_title(label.says)}</text>"


def _title(says: str) -> str:
    return f"<title>{escape(says)}</title>" if says else ""


def _path(points: tuple[Pair, ...] | list[Pair]) -> str:
    found = [f"{_number(x)} {_number(y)}" for x, y in points]
    return f"M{'L'.join(found)}"


def _number(value: float) -> str:
    return f"{value + 0.0:.1f}".removesuffix(".0")
