"""A score over a numeric factor: how much data, how strong, which learning rate."""

import math
from collections.abc import Sequence

from ..analysis.analysis import Analysis, Curve
from .axis import Scale, grid_across, grid_down, scale_of
from .cleaned import one_line
from .drawing import COLOURS, SHAPES, Area, Drawing, Ink, Mark, Shape, extent
from .intervals import WIDTH
from .pareto import WIDE

TITLES = {
    "learning_curve": "How much data is needed",
    "strength": "How strong a method should be",
    "learning_rate": "How sensitive an arm is to the learning rate",
}
HEIGHT, LEGEND_ROW = 330.0, 20.0
DODGE = 5.0
"""Pixels between arms at the same level, so that their intervals do not hide each other."""


def curves(analysis: Analysis) -> list[Drawing]:
    """One figure a factor and seven arms, a line each."""
    kinds: dict[tuple[str, str], list[Curve]] = {}
    for curve in analysis.curves:
        if curve.x:
            kinds.setdefault((curve.kind, curve.factor), []).append(curve)
    title = one_line(analysis.scores[0].title)
    every = [found[start : start + len(COLOURS)] for found in kinds.values()
             for start in range(0, len(found), len(COLOURS))]  # fmt: skip
    return [_figure(found, title, number) for number, found in enumerate(every, start=1)]


def _figure(found: Sequence[Curve], title: str, number: int) -> Drawing:
    kind, factor = found[0].kind, one_line(found[0].factor)
    named = [one_line(curve.arm) for curve in found if curve.arm]
    rows = _legend_rows(named)
    top = 16.0 + LEGEND_ROW * len(rows)
    said = " ".join(one_line(curve.sentence) for curve in found)
    drawing = Drawing(f"curve-{number}", TITLES.get(kind, f"{title} over {factor}"), said, WIDTH, top + HEIGHT)
    xs = [x for curve in found for x in curve.x]
    log = min(xs) > 0 and max(xs) / min(xs) > WIDE / 4
    values = [v for curve in found for e in curve.scores for v in (e.value, e.low, e.high) if v is not None]
    x = scale_of([*xs, *(p[0] for c in found for p in c.fitted)], 60, WIDTH - 12, log)
    y = scale_of([*values, *(p[1] for c in found for p in c.fitted)], top + HEIGHT - 52, top + 14)
    drawing.text(4, top, title, room=400, ink="dim")
    grid_down(drawing, x, y.end, y.start, count=6)
    grid_across(drawing, y, x.start, x.end, count=5)
    for index, curve in enumerate(found):
        shift = DODGE * (index - (len(found) - 1) / 2)
        _curve(drawing, curve, (x, y), (COLOURS[index], SHAPES[index]), shift)
    _legend(drawing, rows)
    drawing.text((x.start + x.end) / 2, y.start + 32, factor, anchor="middle", room=WIDTH - 80)
    return drawing


def _curve(drawing: Drawing, curve: Curve, scales: tuple[Scale, Scale], look: tuple[Ink, Shape], shift: float) -> None:
    (x, y), (ink, shape) = scales, look
    if curve.fitted:
        upper = [(x.at(p[0]), y.at(p[3])) for p in curve.fitted]
        lower = [(x.at(p[0]), y.at(p[2])) for p in reversed(curve.fitted)]
        drawing.shapes.append(Area(tuple(upper + lower), ink, 0.15))
        drawing.line([(x.at(p[0]), y.at(p[1])) for p in curve.fitted], ink, 1.6)
        if curve.flat_at is not None and x.low <= curve.flat_at.value <= x.high:
            at = x.at(curve.flat_at.value)
            drawing.line([(at, y.start), (at, y.end)], ink, 1.2, dashed=True)
    else:
        drawing.line([(x.at(v) + shift, y.at(e.value)) for v, e in zip(curve.x, curve.scores, strict=True)], ink, 1.6)
    for value, score in zip(curve.x, curve.scores, strict=True):
        if not math.isfinite(score.value):
            continue
        at = x.at(value) + shift
        if score.low is not None and score.high is not None:
            drawing.line([(at, y.at(score.low)), (at, y.at(score.high))], ink, 1.6)
        says = f"{one_line(curve.arm)} {value:g}: {score.value:.4g}".strip()
        drawing.shapes.append(Mark((at, y.at(score.value)), shape, ink, 4.5, says=says))


def _legend_rows(names: Sequence[str]) -> list[list[tuple[int, str]]]:
    """The names in lines that fit."""
    rows: list[list[tuple[int, str]]] = [[]] if names else []
    used = 0.0
    for index, name in enumerate(names):
        wide = min(extent(name, 11), 230) + 30
        if used + wide > WIDTH and rows[-1]:
            rows.append([])
            used = 0.0
        rows[-1].append((index, name))
        used += wide
    return rows


def _legend(drawing: Drawing, rows: list[list[tuple[int, str]]]) -> None:
    for line, row in enumerate(rows):
        at, y = 10.0, 10.0 + LEGEND_ROW * line
        for index, name in row:
            drawing.shapes.append(Mark((at, y), SHAPES[index], COLOURS[index], 4.5))
            drawing.text(at + 10, y, name, room=230, ink="dim", size=11)
            at += 30 + min(extent(name, 11), 230)
