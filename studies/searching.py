"""The trials of every arm's search so far, those that follow from results included."""

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any

from ..contracts.record import Record
from .cell import Cell
from .choices import Choices
from .plan import Plan, cells_of, trials_of
from .scores import value_or_none
from .study import Tune
from .tuning import next_trial

Search = tuple[str, str | None]
"""An arm and its task."""
Trials = dict[int, list[Cell]]
"""Number of a trial -> its cells, one for each tuning seed."""
Settings = dict[Search, tuple[Mapping[str, Any], ...]]


def searches_so_far(
    plan: Plan, tune: Tune, finished: Mapping[str, Record], settled: Collection[str]
) -> tuple[dict[Search, Trials], Settings]:
    """All trials that are known.

    Args:
        plan: of the study.
        tune: its search.
        finished: id -> record.
        settled: ids of cells that are finished or have failed for good.

    Returns:
        Search -> trials; search -> settings where the sampler learns from results.
    """
    if tune.sampler != "tpe":
        return _trials(plan, Choices()), {}
    settings: Settings = {
        (arm.name, task): trials_of(plan, tune, (arm.name, task), Choices()) for task in plan.tasks for arm in plan.arms
    }
    while True:
        searches = _trials(plan, Choices(settings=settings))
        more = {
            search: (*settings[search], setting)
            for search, trials in searches.items()
            if (setting := _following(plan, tune, search, settings[search], trials, finished, settled)) is not None
        }
        if not more:
            return searches, settings
        settings |= more


def mean_score(cells: Sequence[Cell], finished: Mapping[str, Record], tune: Tune) -> float | None:
    """Of one trial over its tuning seeds; None where a cell failed or has not the metric."""
    values = [value_or_none(finished.get(cell.id), tune.metric.key) for cell in cells]
    found = [value for value in values if value is not None]
    return fmean(found) if found and len(found) == len(values) else None


def _following(
    plan: Plan,
    tune: Tune,
    search: Search,
    settings: Sequence[Mapping[str, Any]],
    trials: Trials,
    finished: Mapping[str, Record],
    settled: Collection[str],
) -> Mapping[str, Any] | None:
    if any(cell.id not in settled for cells in trials.values() for cell in cells):
        return None
    tried = [(dict(setting), mean_score(trials[number], finished, tune)) for number, setting in enumerate(settings)]
    return next_trial(tune, settings[0], tried, [name for name in search if name is not None])


def _trials(plan: Plan, choices: Choices) -> dict[Search, Trials]:
    found: dict[Search, Trials] = {}
    for cell in cells_of(plan, choices):
        if cell.stage == "tune":
            found.setdefault((cell.arm, cell.task), {}).setdefault(cell.trial, []).append(cell)
    return found
