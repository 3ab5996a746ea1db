"""Which cells of a study can be run now: a function of its plan and of what has finished, in whatever order."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import pstdev

from ..contracts.record import Record
from .analysis.material import Place, label
from .analysis.pairing import pair_up
from .cell import Cell, Stage
from .choices import Choices
from .plan import Plan, cells_of
from .results import CellResult
from .scores import value_or_none
from .searching import Search, searches_so_far
from .selection import best_trial, companions, survivors

RANK: Mapping[Stage, int] = {"tune": 0, "report": 1, "noise": 2, "confirm": 3}


@dataclass(frozen=True)
class Due:
    """A study at one moment.

    Args:
        cells: neither finished nor failed, and nothing is missing that decides what they are; the first one first.
            Replicate by replicate over all arms, so that what is there at any time can be compared.
        planned: every cell that is known to belong to the study by now, finished and failed ones too.
        choices: what the finished cells have decided.
        blocked: (arm, task) -> why its reported cells can never be run.
        later: cells that are sure to follow and are not in ``planned``, since results decide what they are.
        waits: whether the confirmation will be decided once the reported cells are over.
        complete: every cell of the study is finished.
    """

    cells: tuple[Cell, ...]
    planned: tuple[Cell, ...]
    choices: Choices
    blocked: Mapping[Search, str]
    later: int
    waits: bool
    complete: bool


def due(plan: Plan, finished: Mapping[str, Record], failed: Collection[str] = ()) -> Due:
    """What comes next.

    Every arm's search comes first, then reported cells and the noise floor beside them, then the confirmation, once
    every reported cell is over. A trial that failed counts as the worst one. An arm whose confirmation has begun stays
    confirmed, also where reported cells that were tried again would pick another one: what was seen is reported.

    Args:
        plan: of the study.
        finished: id of a cell -> its record. Cells that are not planned are passed over.
        failed: ids of cells that will not be tried again.

    Raises:
        UserError: the search asks Optuna, which is not installed.
    """
    study, settled = plan.study, finished.keys() | set(failed)
    choices, blocked, later = _searched(plan, finished, settled)
    cells = cells_of(plan, choices)
    waits = study.confirm is not None and (later > 0 or not _reported(cells, settled))
    if study.confirm is not None:
        better = () if waits else _better(plan, study.confirm.arms, cells, finished)
        choices = replace(choices, confirmed=companions([*better, *_begun(plan, choices, settled)], plan.arms))
        cells = cells_of(plan, choices)
    return Due(
        cells=tuple(in_order(plan, (cell for cell in cells if cell.id not in settled))),
        planned=tuple(cells),
        choices=choices,
        blocked=blocked,
        later=later,
        waits=waits,
        complete=not (blocked or later or waits) and all(cell.id in finished for cell in cells),
    )


def in_order(plan: Plan, cells: Iterable[Cell]) -> list[Cell]:
    """Stage by stage, of a stage trial by trial and replicate by replicate, and of these arm by arm."""
    places = {arm.name: number for number, arm in enumerate(plan.arms)}

    def place(cell: Cell) -> tuple[int, ...]:
        trial = cell.trial if cell.stage == "tune" else 0
        return RANK[cell.stage], trial, cell.replicate, cell.repeat, places[cell.arm]

    return sorted(cells, key=place)


def differences(plan: Plan, cells: Iterable[Cell], finished: Mapping[str, Record]) -> dict[str, list[list[float]]]:
    """Of each arm that is compared with another: by task, arm less reference on the primary metric of the reported
    replicates that both have and that may be subtracted (``pair_up``).

    Of several tasks each is divided by the standard deviation of all its reported scores, so that none rules by its
    scale.
    """
    key = plan.study.metric.key
    results: dict[Search, dict[Place, CellResult]] = defaultdict(dict)
    values: dict[str, float] = {}
    scores: dict[str | None, list[float]] = {}
    for cell in cells:
        if cell.stage != "report":
            continue
        record = finished.get(cell.id)
        value = value_or_none(record, key)
        scores.setdefault(cell.task, [])
        if record is not None and value is not None:
            scores[cell.task].append(value)
            values[cell.id] = value
            results[cell.arm, cell.task][cell.task, label(cell.seeds)] = CellResult(cell, record, Path())
    scales = {task: _scale(some) if len(scores) > 1 else 1.0 for task, some in scores.items()}

    def pairs(arm: str, reference: str, task: str | None) -> list[float]:
        ours, theirs = results[arm, task], results[reference, task]
        found = pair_up(ours, theirs, [place for place in ours if place in theirs], key).found
        return [(values[pair.arm.cell.id] - values[pair.reference.cell.id]) / scales[task] for pair in found]

    return {arm.name: [pairs(arm.name, arm.reference, task) for task in scores] for arm in plan.arms if arm.reference}


def _scale(scores: Collection[float]) -> float:
    return (pstdev(scores) if len(scores) > 1 else 0.0) or 1.0


def _better(plan: Plan, most: int, cells: Iterable[Cell], finished: Mapping[str, Record]) -> tuple[str, ...]:
    placebos = {arm.placebo for arm in plan.arms if arm.placebo is not None}
    return survivors(differences(plan, cells, finished), plan.study.metric.mode, most, placebos)


def _begun(plan: Plan, choices: Choices, settled: Collection[str]) -> list[str]:
    """Arms of which a cell of the confirmation is over."""
    every = cells_of(plan, replace(choices, confirmed=tuple(arm.name for arm in plan.arms)))
    return list(dict.fromkeys(cell.arm for cell in every if cell.stage == "confirm" and cell.id in settled))


def _searched(
    plan: Plan, finished: Mapping[str, Record], settled: Collection[str]
) -> tuple[Choices, dict[Search, str], int]:
    """The trial of every arm whose search is over, why others have none, and how many cells wait for a search."""
    tune = plan.study.tune
    if tune is None:
        return Choices(), {}, 0
    searches, settings = searches_so_far(plan, tune, finished, settled)
    trials: dict[Search, int] = {}
    blocked: dict[Search, str] = {}
    later = 0
    for search, cells in searches.items():
        missing = tune.trials - len(cells)
        if missing or any(cell.id not in settled for cell in chain(*cells.values())):
            later += missing * len(tune.seeds) + len(plan.study.replicates)
            later += 2 * plan.study.noise if search == (plan.baseline.name, plan.tasks[0]) else 0
            continue
        key = tune.metric.key
        values = {trial: [value_or_none(finished.get(c.id), key) for c in some] for trial, some in cells.items()}
        if (best := best_trial(values, tune.metric.mode)) is not None:
            trials[search] = best
        else:
            blocked[search] = (
                f"none of its {len(cells)} trials has {key} on every tuning seed, so that there is no setting to "
                "report it with"
            )
    return Choices(trials, settings), blocked, later


def _reported(cells: Iterable[Cell], settled: Collection[str]) -> bool:
    return all(cell.id in settled for cell in cells if cell.stage == "report")
