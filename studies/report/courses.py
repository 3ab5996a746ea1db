"""Learning curves: every cell of every arm."""

import math
from collections import Counter
from collections.abc import Sequence

from ..analysis.analysis import Analysis, Course
from .axis import Scale, scale_of
from .cleaned import one_line
from .drawing import Drawing, Ink, extent
from .panels import Panel, frame, panel, sheet

MOST_POINTS = 40
"""Of one curve; more cannot be told apart at the size of a panel."""
NLL = "nll"
INKS: dict[str, Ink] = {"healthy": "blue", "overfitting": "vermilion", "underfitting": "purple", "undecided": "dim"}


def courses(analysis: Analysis) -> Drawing | None:
    """A panel an arm: validation by cell, coloured by its verdict; beside NLL the training loss, dashed."""
    found = [course for course in analysis.courses if any(steps for steps, _ in course.curves)]
    if not found:
        return None
    metric = one_line(found[0].metric)
    said = "; ".join(f"{one_line(c.arm)}: {verdicts(c.verdicts)}" for c in found[:20])
    drawing = sheet("courses", f"Validation {metric} while training", f"{said}.", len(found))
    drawn = {id(c): [*c.curves, *(c.train if _is_nll(c) else [])] for c in found}
    steps = [float(step) for c in found for xs, _ in drawn[id(c)] for step in xs]
    values = [v for c in found for _, ys in drawn[id(c)] for v in ys if math.isfinite(v)]
    for index, course in enumerate(found):
        place = panel(index)
        scales = scale_of(steps, place.left, place.right, air=0.02), scale_of(values, place.bottom, place.top)
        frame(drawing, place, scales, course.arm, verdicts(course.verdicts))
        _curves(drawing, place, scales, course)
    _legend(drawing, found)
    drawing.text(drawing.width / 2, drawing.height - 10, f"step (horizontal), {metric} (vertical)", anchor="middle")
    return drawing


def verdicts(labels: Sequence[str]) -> str:
    """``4 healthy, 1 overfitting``."""
    return ", ".join(f"{count} {one_line(label)}" for label, count in Counter(labels).items()) or "no verdict"


def thinned(points: list[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """First, last and evenly spread ones between."""
    if len(points) <= most:
        return points
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def _is_nll(course: Course) -> bool:
    return course.metric.rpartition("/")[2] == NLL


def _curves(drawing: Drawing, place: Panel, scales: tuple[Scale, Scale], course: Course) -> None:
    x, y = scales
    if _is_nll(course):
        for steps, values in course.train:
            _curve(drawing, x, y, (steps, values), "orange", dashed=True)
    labels = [*course.verdicts, *[""] * len(course.curves)]
    for (steps, values), label in zip(course.curves, labels, strict=False):
        _curve(drawing, x, y, (steps, values), INKS.get(label, "dim"), dashed=False)


def _curve(drawing: Drawing, x: Scale, y: Scale, curve: tuple[list[int], list[float]], ink: Ink, dashed: bool) -> None:
    found = [(x.at(s), y.at(v)) for s, v in zip(*curve, strict=False) if math.isfinite(v)]
    if len(found) > 1:
        drawing.line(thinned(found), ink, 1.4, dashed)


def _legend(drawing: Drawing, found: Sequence[Course]) -> None:
    seen = {label for course in found for label in course.verdicts}
    entries: list[tuple[str, Ink, bool]] = [(label, ink, False) for label, ink in INKS.items() if label in seen]
    if any(map(_is_nll, found)):
        entries.append(("training", "orange", True))
    at = 10.0
    for word, ink, dashed in entries:
        drawing.line([(at, 10), (at + 22, 10)], ink, 2, dashed)
        drawing.text(at + 28, 10, word, ink="dim", size=11)
        at += 46 + extent(word, 11)
