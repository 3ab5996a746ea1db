"""Finished cells of a study, sorted."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ...contracts.record import Record
from ...contracts.seeds import Seeds
from ..arm import Arm
from ..cell import Cell, Stage
from ..results import CELLS, CellResult
from ..scores import MissingScore, score
from ..study import Study
from ..variants import tasks_of
from .analysis import Point, Unfinished

Place = tuple[str | None, str]
"""Task and label of the seeds: what a pair shares."""


@dataclass(frozen=True)
class Material:
    """What an analysis is made of.

    Args:
        study: what was asked.
        arms: in the order of the design.
        results: of finished cells, of all stages.
        unfinished: cells without a result.
    """

    study: Study
    arms: Sequence[Arm]
    results: Sequence[CellResult]
    unfinished: Sequence[Unfinished]

    @cached_property
    def _sorted(self) -> dict[tuple[Stage, str], list[CellResult]]:
        found: dict[tuple[Stage, str], list[CellResult]] = defaultdict(list)
        for result in self.results:
            found[result.cell.stage, result.cell.arm].append(result)
        for cells in found.values():
            cells.sort(key=lambda result: (result.cell.task or "", result.cell.replicate, result.cell.repeat))
        return found

    def of(self, arm: str, stage: Stage = "report") -> list[CellResult]:
        """By task, then by replicate."""
        return self._sorted.get((stage, arm), [])

    def at(self, arm: str, stage: Stage = "report") -> dict[Place, CellResult]:
        """What a pair is looked up by."""
        return {(result.cell.task, label(result.cell.seeds)): result for result in self.of(arm, stage)}

    @cached_property
    def by_name(self) -> dict[str, Arm]:
        return {arm.name: arm for arm in self.arms}

    @cached_property
    def tasks(self) -> tuple[str | None, ...]:
        """Of cells that are reported; one None where the study has no tasks."""
        return tasks_of(self.study)

    @property
    def planned(self) -> int:
        """Reported cells of one arm."""
        return len(self.tasks) * len(self.study.replicates)


def label(seeds: Seeds) -> str:
    """``1``, or ``1/2/3`` of three that are not the same."""
    values = (seeds.data, seeds.init, seeds.train)
    return str(values[0]) if len(set(values)) == 1 else "/".join(map(str, values))


def unfinished(
    cell: Cell, state: str, reason: str = "", message: str = "", attempts: int = 0, folder: str = ""
) -> Unfinished:
    """What a ledger knows of a cell without a result.

    Args:
        cell: that is not done.
        state: ``failed``, ``pending``, ``running`` or ``interrupted``.
        reason: class of the failure.
        message: what it said.
        attempts: how often it was tried.
        folder: name of its folder; empty where nothing has made one, whose name is then that of its arm. One whose
            arm was called otherwise keeps the folder that it has.
    """
    log = f"{CELLS}/{folder or cell.folder_name}/log.txt"
    about = cell.arm, label(cell.seeds), cell.stage, state, reason, message, attempts, log
    return Unfinished(cell.id, *about, cell.task, cell.trial, cell.setting)


def points(results: Iterable[CellResult], key: str) -> tuple[list[Point], list[str]]:
    """Values of a score, and why cells lack it."""
    found, missing = [], []
    for result in results:
        try:
            value = score(result.record, key)
        except MissingScore as error:
            missing.append(str(error))
            continue
        found.append(Point(label(result.cell.seeds), value, result.cell.id, result.cell.task))
    return found, missing


def spread(records: Iterable[Record], of: Callable[[Record], int]) -> tuple[int, int] | None:
    """Least and most of a count."""
    found = [of(record) for record in records]
    return (min(found), max(found)) if found else None
