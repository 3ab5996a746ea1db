"""Every seed's value of every arm."""

import math

from ..analysis.analysis import Analysis, ArmRow
from .axis import Scale, grid_down, scale_of
from .cleaned import one_line
from .drawing import Drawing, Mark, extent
from .intervals import GAP, LONGEST_LABEL, WIDTH
from .numbers import decimals, plain, spread

FAN = 3.0
"""Pixels up and down over which the seeds of an arm are spread, the same seed at the same height."""


def dots(analysis: Analysis) -> Drawing | None:
    """One row an arm: its seeds as circles, the mean as a bar with its interval; the noise floor below."""
    key = analysis.scores[0].key
    arms = [arm for arm in analysis.arms if arm.points.get(key)]
    if not arms:
        return None
    noise = _noise(analysis)
    pitch = 24.0 if len(arms) <= 60 else 19.0
    bottom = 6.0 + pitch * (len(arms) + len(noise))
    digits = decimals(arm.scores[key] for arm in arms if key in arm.scores)
    title = one_line(analysis.scores[0].title)
    told = "; ".join(f"{one_line(arm.name)}: {spread(arm.scores.get(key), digits)}" for arm in arms[:20])
    drawing = Drawing("seeds", f"{title} of every seed", f"One dot a seed. {told}.", WIDTH, bottom + 42.0)
    names = [one_line(arm.name) for arm in arms] + list(noise)
    room = min(LONGEST_LABEL, max(extent(name, 12.5) for name in names) + 4)
    values = [p.value for arm in arms for p in arm.points[key]] + [v for found in noise.values() for v in found]
    means = [arm.scores[key] for arm in arms if key in arm.scores]
    values += [v for mean in means for v in (mean.low, mean.high) if v is not None]
    scale = scale_of(values, room + GAP, WIDTH - 12)
    grid_down(drawing, scale, 2, bottom, count=7)
    order = {name: i for i, name in enumerate(dict.fromkeys(p.replicate for arm in arms for p in arm.points[key]))}
    for index, arm in enumerate(arms):
        _arm(drawing, arm, key, (scale, room, 6.0 + pitch * (index + 0.5), digits), order)
    for index, (name, found) in enumerate(noise.items()):
        y = 6.0 + pitch * (len(arms) + index + 0.5)
        drawing.text(room, y, name, room=room, anchor="end", ink="dim")
        for value in filter(math.isfinite, found):
            drawing.shapes.append(Mark((scale.at(value), y), "diamond", "purple", 3.2, True, plain(value, digits + 1)))
    drawing.text((scale.start + scale.end) / 2, bottom + 30, title, anchor="middle", room=scale.end - scale.start)
    return drawing


def _arm(
    drawing: Drawing, arm: ArmRow, key: str, place: tuple[Scale, float, float, int], order: dict[str, int]
) -> None:
    scale, room, y, digits = place
    drawing.text(room, y, one_line(arm.name), room=room, anchor="end", bold=arm.bold)
    mean = arm.scores.get(key)
    if mean is not None and mean.low is not None and mean.high is not None:
        drawing.line([(scale.at(mean.low), y), (scale.at(mean.high), y)], "dim", 1.4)
    if mean is not None and math.isfinite(mean.value):
        drawing.shapes.append(Mark((scale.at(mean.value), y), "bar", "ink", 5, says=spread(mean, digits)))
    for point in arm.points[key]:
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
