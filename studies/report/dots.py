"""Every seed's value of every arm."""

import math
from dataclasses import dataclass

from ..analysis.analysis import Analysis, Estimate, Point
from .axis import Scale, grid_down, scale_of
from .cleaned import one_line
from .drawing import Drawing, Mark, extent
from .intervals import GAP, LONGEST_LABEL, WIDTH
from .main_table import STAGES
from .numbers import decimals, plain, spread

FAN = 3.0
"""Pixels up and down over which the seeds of an arm are spread, the same seed at the same height."""


@dataclass(frozen=True)
class Line:
    """The seeds of an arm.

    Args:
        label: on the left.
        points: one a seed.
        mean: with its interval.
        bold: whether the label is.
        baseline: whether the arm is.
    """

    label: str
    points: list[Point]
    mean: Estimate | None
    bold: bool
    baseline: bool


def dots(analysis: Analysis) -> Drawing | None:
    """A row for each arm: its seeds as circles, the mean as a bar with its interval; the noise floor below."""
    key = analysis.scores[0].key
    arms = _lines(analysis, key)
    if not arms:
        return None
    noise = _noise(analysis)
    pitch = 24.0 if len(arms) <= 60 else 19.0
    bottom = 6.0 + pitch * (len(arms) + len(noise))
    means = [arm.mean for arm in arms if arm.mean is not None]
    digits = decimals(means)
    title = one_line(analysis.scores[0].title)
    told = "; ".join(f"{arm.label}: {spread(arm.mean, digits)}" for arm in arms[:20])
    drawing = Drawing("seeds", f"{title} of every seed", f"One dot a seed. {told}.", WIDTH, bottom + 42.0)
    names = [arm.label for arm in arms] + list(noise)
    room = min(LONGEST_LABEL, max(extent(name, 12.5) for name in names) + 4)
    values = [p.value for arm in arms for p in arm.points] + [v for found in noise.values() for v in found]
    values += [v for mean in means for v in (mean.low, mean.high) if v is not None]
    scale = scale_of(values, room + GAP, WIDTH - 12)
    grid_down(drawing, scale, 2, bottom, count=7)
    order = {name: i for i, name in enumerate(dict.fromkeys(p.replicate for arm in arms for p in arm.points))}
    for index, arm in enumerate(arms):
        _line(drawing, arm, (scale, room, 6.0 + pitch * (index + 0.5), digits), order)
    for index, (name, found) in enumerate(noise.items()):
        y = 6.0 + pitch * (len(arms) + index + 0.5)
        drawing.text(room, y, name, room=room, anchor="end", ink="dim")
        for value in filter(math.isfinite, found):
            drawing.shapes.append(Mark((scale.at(value), y), "diamond", "purple", 3.2, True, plain(value, digits + 1)))
    drawing.text((scale.start + scale.end) / 2, bottom + 30, title, anchor="middle", room=scale.end - scale.start)
    return drawing


def _lines(analysis: Analysis, key: str) -> list[Line]:
    """One an arm; of several data sets one an arm on each, and fresh seeds before the screening."""
    tasks: list[str | None] = [*analysis.data_sets] or [None]
    found = []
    for rows in (analysis.confirmed, analysis.arms):
        for task, arm in ((task, arm) for task in tasks for arm in rows):
            some = [p for p in arm.points.get(key, []) if task is None or p.task == task]
            mean = arm.scores.get(key) if task is None else arm.by_task.get(task, {}).get(key)
            words = [one_line(arm.name)] + ([] if task is None else [one_line(task)])
            words += [STAGES[arm.stage]] if analysis.confirms else []
            bold = arm.bold and task is None and (arm.stage == "confirm" or not analysis.confirms)
            found += [Line(", ".join(words), some, mean, bold, arm.baseline)] if some else []
    return found


def _line(drawing: Drawing, arm: Line, place: tuple[Scale, float, float, int], order: dict[str, int]) -> None:
    scale, room, y, digits = place
    drawing.text(room, y, arm.label, room=room, anchor="end", bold=arm.bold)
    mean = arm.mean
    if mean is not None and mean.low is not None and mean.high is not None:
        drawing.line([(scale.at(mean.low), y), (scale.at(mean.high), y)], "dim", 1.4)
    if mean is not None and math.isfinite(mean.value):
        drawing.shapes.append(Mark((scale.at(mean.value), y), "bar", "ink", 5, says=spread(mean, digits)))
    for point in arm.points:
        if math.isfinite(point.value):
            height = y + FAN * (2 * order[point.replicate] / max(1, len(order) - 1) - 1)
            task = "" if point.task is None else f"{one_line(point.task)}, "
            says = f"{task}seed {one_line(point.replicate)}: {plain(point.value, digits + 1)}"
            ink = "orange" if arm.baseline else "blue"
            drawing.shapes.append(Mark((scale.at(point.value), height), "circle", ink, 3.2, says=says))


def _noise(analysis: Analysis) -> dict[str, list[float]]:
    if analysis.noise is None:
        return {}
    found = {"noise: same seeds again": analysis.noise.same, "noise: other seeds": analysis.noise.others}
    return {name: values for name, values in found.items() if values}
