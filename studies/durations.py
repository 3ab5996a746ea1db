"""How long cells take: as those that are done took, else by the measured steps of their arm."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import fmean

from .cell import Cell
from .entry import Entry
from .plan import Plan
from .resolution import Measured

STARTING = 3.0
"""Seconds of a cell outside of its steps and evaluations: its model and data are loaded, its results are written."""
PASSES = 4
"""Over evaluation splits at the least: base and tuned, each on validation and on test."""


def estimate(measured: Measured) -> float:
    """Seconds of one cell, roughly."""
    training = measured.seconds_per_step * measured.planned_steps
    return STARTING + training + PASSES * measured.evaluation_seconds


def seconds_of(plan: Plan, entries: Iterable[Entry]) -> dict[tuple[str, str | None], float]:
    """(arm, task) -> seconds of one of its cells; without what nothing is known of.

    Args:
        plan: with or without measurements.
        entries: of cells, finished ones among them.
    """
    taken: dict[tuple[str, str | None], list[float]] = defaultdict(list)
    for entry in entries:
        if entry.state == "done" and entry.seconds:
            taken[entry.arm, entry.task].append(entry.seconds)
    found = {
        (arm.name, task): estimate(measured)
        for arm in plan.arms
        for task in plan.tasks
        if (measured := plan.resolved(arm.name, task).measured) is not None
    }
    return found | {key: fmean(seconds) for key, seconds in taken.items()}


def seconds_left(
    cells: Iterable[Cell],
    entries: Mapping[str, Entry],
    seconds: Mapping[tuple[str, str | None], float],
    slots: int,
    now: float,
) -> float | None:
    """Until all are done, with so many at a time; None where nothing is known of any arm.

    Args:
        cells: that are neither done nor failed; their order does not count.
        entries: id -> row.
        seconds: (arm, task) -> of one cell; of arms that are missing the mean of the others is taken.
        slots: cells at a time.
        now: seconds since 1970.
    """
    if not seconds:
        return None
    usual = fmean(seconds.values())
    total, longest = 0.0, 0.0
    for cell in cells:
        entry = entries.get(cell.id)
        ran = now - entry.started if entry is not None and entry.state == "running" and entry.started else 0.0
        left = max(0.0, seconds.get((cell.arm, cell.task), usual) - ran)
        total, longest = total + left, max(longest, left)
    return max(longest, total / slots)
