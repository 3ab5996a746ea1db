"""What a better score costs."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..analysis.analysis import Analysis, ArmRow, Score
from .axis import Scale, grid_across, grid_down, scale_of
from .cleaned import one_line
from .drawing import Drawing, Mark, extent
from .intervals import WIDTH
from .main_table import rows_shown, title
from .numbers import amount, decimals, spread

COSTS = ("forgetting/", "cost/", "parameters/")
"""Heads of the keys of what one pays for a score."""
COLUMNS, HEIGHT = 2, 250.0
WIDE = 20.0
"""Ratio of the largest to the least value from which on the scale is logarithmic."""


@dataclass(frozen=True)
class Choice:
    """An arm in a panel: what it costs, what it brings, and how it is told."""

    arm: ArmRow
    cost: float
    score: float
    says: str
    frontier: bool = False


def pareto(analysis: Analysis) -> Drawing | None:
    """A panel for each cost: the arms that no other arm beats in both are filled, named and joined."""
    primary = analysis.scores[0]
    costs = [score for score in analysis.scores[1:] if score.key.startswith(COSTS)]
    every = [(score, choices(analysis, score)) for score in costs]
    panels = [(score, found) for score, found in every if len({choice.cost for choice in found}) > 1]
    if not panels or primary.mode is None:
        return None
    rows = math.ceil(len(panels) / COLUMNS)
    said = " ".join(
        f"{one_line(score.title)}: not beaten are {', '.join(one_line(c.arm.name) for c in found if c.frontier)}."
        for score, found in panels
    )
    drawing = Drawing("pareto", f"{title(primary)} against its price", said, WIDTH, rows * HEIGHT)
    for index, (score, found) in enumerate(panels):
        left, top = (index % COLUMNS) * WIDTH / COLUMNS, (index // COLUMNS) * HEIGHT
        _panel(drawing, (left, top), (primary, score), found)
    return drawing


def choices(analysis: Analysis, cost: Score) -> list[Choice]:
    """Arms that have both numbers, with whether any other arm is at least as good in both and better in one."""
    primary = analysis.scores[0]
    digits = decimals(arm.scores[primary.key] for arm in rows_shown(analysis) if primary.key in arm.scores)
    found = []
    for arm in rows_shown(analysis):
        price, score = arm.scores.get(cost.key), arm.scores.get(primary.key)
        if price and score and math.isfinite(price.value) and math.isfinite(score.value):
            says = f"{one_line(arm.name)}: {spread(score, digits)}; {amount(cost.key, price.value)}"
            found.append(Choice(arm, price.value, score.value, says))
    ways = (-1 if cost.mode == "max" else 1, 1 if primary.mode == "min" else -1)
    spots = [(ways[0] * c.cost, ways[1] * c.score) for c in found]
    free = [not any(o[0] <= s[0] and o[1] <= s[1] and o != s for o in spots) for s in spots]
    return [Choice(c.arm, c.cost, c.score, c.says, f) for c, f in zip(found, free, strict=True)]


def _panel(drawing: Drawing, corner: tuple[float, float], scores: tuple[Score, Score], found: list[Choice]) -> None:
    primary, cost = scores
    left, top, right, bottom = corner[0] + 48, corner[1] + 26, corner[0] + WIDTH / 2 - 14, corner[1] + HEIGHT - 44
    costs = [c.cost for c in found]
    log = min(costs) > 0 and max(costs) / min(costs) > WIDE
    x, y = scale_of(costs, left, right, log, air=0.08), scale_of((c.score for c in found), bottom, top, air=0.1)
    drawing.text(corner[0] + 4, corner[1] + 12, title(primary), room=right - corner[0], ink="dim", size=11)
    grid_down(drawing, x, top, bottom, count=4)
    grid_across(drawing, y, left, right)
    drawing.text((left + right) / 2, bottom + 28, title(cost), room=right - left, anchor="middle")
    frontier = sorted((c for c in found if c.frontier), key=lambda c: c.cost)
    drawing.line(_stairs(frontier, x, y), "green", 1.4) if len(frontier) > 1 else None
    for choice in sorted(found, key=lambda c: c.frontier):
        shape, ink = ("up", "green") if choice.frontier else ("circle", "dim")
        at = (x.at(choice.cost), y.at(choice.score))
        drawing.shapes.append(Mark(at, shape, ink, 5, not choice.frontier, choice.says))
    _names(drawing, frontier, [(x.at(c.cost), y.at(c.score)) for c in found], (left, top, right, bottom), (x, y))


def _stairs(frontier: Sequence[Choice], x: Scale, y: Scale) -> list[tuple[float, float]]:
    points = [(x.at(frontier[0].cost), y.at(frontier[0].score))]
    for before, choice in itertools.pairwise(frontier):
        points += [(x.at(choice.cost), y.at(before.score)), (x.at(choice.cost), y.at(choice.score))]
    return points


def _names(
    drawing: Drawing, frontier: Sequence[Choice], marks: list[tuple[float, float]],
    frame: tuple[float, float, float, float], scales: tuple[Scale, Scale],
) -> None:  # fmt: skip
    """Beside their points, where neither a point nor another name is; left out where there is no such place."""
    left, top, right, bottom = frame
    taken = [(mx - 6, my - 6, mx + 6, my + 6) for mx, my in marks]
    if len(frontier) > 1:
        taken += [(min(a[0], b[0]) - 1, min(a[1], b[1]) - 1, max(a[0], b[0]) + 1, max(a[1], b[1]) + 1)
                  for a, b in itertools.pairwise(_stairs(frontier, *scales))]  # fmt: skip
    for choice in frontier:
        cx, cy = scales[0].at(choice.cost), scales[1].at(choice.score)
        name = one_line(choice.arm.name)
        wide = min(extent(name, 11), 150.0)
        for dx, dy, anchor in ((9, 0, "start"), (-9, 0, "end"), (0, -13, "middle"), (0, 13, "middle"),
                               (8, -12, "start"), (8, 12, "start"), (-8, -12, "end"), (-8, 12, "end")):  # fmt: skip
            start = cx + dx - {"start": 0, "end": wide, "middle": wide / 2}[anchor]
            box = (start, cy + dy - 7, start + wide, cy + dy + 7)
            inside = left <= box[0] and box[2] <= right + 10 and top - 6 <= box[1] and box[3] <= bottom
            if inside and not any(_overlap(box, other) for other in taken):
                drawing.text(cx + dx, cy + dy, name, room=150.0, anchor=anchor, size=11)
                taken.append(box)
                break


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
