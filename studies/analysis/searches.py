"""What each arm's search tried, what it chose, and what its whole curve says."""

from collections.abc import Sequence
from statistics import fmean

from ..results import CellResult
from ..scores import MissingScore, score
from ..selection import best_trial
from ..statistics.expected_validation import expected_best
from ..study import Dimension, Tune
from .analysis import Search, Trial
from .material import Material, label
from .wording import counted, listed

INDEPENDENT = "random"
"""The sampler whose trials are drawn independently, so that an expectation of the best of k has a meaning."""


def searches(material: Material) -> list[Search]:
    """Of each arm on each task; empty of a study that searches nothing."""
    if material.study.tune is None:
        return []
    found = [_search(material, material.study.tune, arm.name, task) for arm in material.arms for task in material.tasks]
    return [search for search in found if search.trials]


def budget(material: Material) -> str:
    """What every arm was given, in words; that the test split was not read, only where the records say so."""
    tune = material.study.tune
    if tune is None:
        return ""
    trials = [result.record.test_read for result in material.results if result.cell.stage == "tune"]
    unread = ", and the test split was not read" if trials and not any(trials) else ""
    seeds = listed([label(each) for each in tune.seeds])
    keys = listed([dimension.key for dimension in tune.space])
    return (
        f"Every arm had the same search: {counted(tune.trials, 'trial')} of {keys} ({tune.sampler}), the first of them "
        f"its default, each on {'seed' if len(tune.seeds) == 1 else 'seeds'} {seeds}, which no reported cell uses; "
        f"{tune.metric.key} chose{unread}."
    )


def at_edge(search: Search, tune: Tune) -> list[str]:
    """Keys whose chosen value is the least or the largest that was tried of at least two, numbers only.

    The best value may then lie beyond the space. A choice that ties with another trial points nowhere.
    """
    chosen = next((trial for trial in search.trials if trial.chosen), None)
    if chosen is None or any(t.mean == chosen.mean for t in search.trials if t is not chosen):
        return []
    return [dimension.key for dimension in tune.space if _is_at_edge(search, chosen, dimension)]


def _is_at_edge(search: Search, chosen: Trial, dimension: Dimension) -> bool:
    tried = [trial.setting.get(dimension.key) for trial in search.trials]
    numbers = [value for value in tried if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) != len(tried) or len(set(numbers)) < 2:
        return False
    return chosen.setting[dimension.key] in (min(numbers), max(numbers))


def _search(material: Material, tune: Tune, arm: str, task: str | None) -> Search:
    cells = [result for result in material.of(arm, "tune") if result.cell.task == task]
    reported = [result.cell.setting for result in material.of(arm) if result.cell.task == task]
    gone = [each for each in material.unfinished if (each.stage, each.arm, each.task) == ("tune", arm, task)]
    by_trial: dict[int, list[CellResult]] = {each.trial: [] for each in gone}
    settings = {each.trial: each.setting for each in gone}
    for result in cells:
        by_trial.setdefault(result.cell.trial, []).append(result)
        settings[result.cell.trial] = result.cell.setting
    values = {number: _values(found, tune) for number, found in sorted(by_trial.items())}
    chosen = best_trial(values, tune.metric.mode)
    if reported:  # what was run is what was chosen, whatever trials say by now
        chosen = next((number for number in values if settings[number] == reported[0]), None)
    trials = [
        Trial(number, settings[number], scores, _mean(scores), number == chosen) for number, scores in values.items()
    ]
    means = [trial.mean for trial in trials if trial.mean is not None]
    whole = len(means) == tune.trials and tune.sampler == INDEPENDENT
    return Search(arm, task, tune.metric.key, trials, expected_best(means, tune.metric.mode) if whole else [])


def _values(found: Sequence[CellResult], tune: Tune) -> list[float | None]:
    """One per tuning seed; None of one that failed."""
    by_seed = {result.cell.seeds: result for result in found}
    return [_value(by_seed.get(seeds), tune.metric.key) for seeds in tune.seeds]


def _value(result: CellResult | None, key: str) -> float | None:
    if result is None:
        return None
    try:
        return score(result.record, key)
    except MissingScore:
        return None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
