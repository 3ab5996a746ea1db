"""Arms over several data sets: one test an arm, and what it does on each of them."""

from dataclasses import dataclass
from statistics import pstdev

import numpy as np

from ..arm import Arm
from ..cell import Stage
from ..statistics.interval import t_interval
from ..statistics.multiplicity import holm
from ..statistics.paired import paired
from ..statistics.several_tasks import paired_iqm_interval, stratified_sign_flip
from .analysis import Conclusion, Estimate, TaskSummary
from .conclusion import Correction, excludes_zero
from .contrasts import differences, family, places
from .item_level import estimate
from .material import Material, points
from .pairing import pair_up
from .wording import LEVEL, counted, interval

LEAST_SEEDS, LEAST_RUNS = 5, 8
"""Seeds, and seeds x tasks, below which nothing is claimed."""
TEST = "the larger p of stratified sign flips and the paired t test of the seeds' means"


@dataclass(frozen=True)
class _OverTasks:
    """One arm.

    Args:
        arm: compared with its reference.
        by_task: task -> difference with its t interval.
        table: [seeds, tasks] differences on the tasks' scales, of seeds that have all tasks; None without any.
        p: raw, the larger of two: a replicate has the same seeds on all tasks, so that its differences may be
            correlated, which stratified flips take for more evidence than it is; the t test of seeds' means does not.
    """

    arm: Arm
    by_task: dict[str, Estimate]
    table: np.ndarray | None
    p: float | None


def task_scales(material: Material) -> dict[str | None, float]:
    """Task -> standard deviation of all reported scores on it, so that none rules by its scale; 1 of a single one."""
    if len(material.tasks) == 1:
        return {material.tasks[0]: 1.0}
    every = [p for arm in material.arms for p in points(material.of(arm.name), material.study.metric.key)[0]]
    values = {task: [point.value for point in every if point.task == task] for task in material.tasks}
    return {task: (pstdev(some) if len(some) > 1 else 0.0) or 1.0 for task, some in values.items()}


def task_summaries(material: Material, stage: Stage = "report") -> list[TaskSummary]:
    """Of each arm against its reference; empty of a study with one data set.

    Args:
        material: the cells.
        stage: whose; of a study that confirms, the confirmation alone.
    """
    if len(material.tasks) < 2:
        return []
    scales = task_scales(material)
    arms = {question.arm.name: question.arm for question in family(material, stage) if question.kind == "reference"}
    found = [_over_tasks(material, arm, scales, stage) for arm in arms.values()]
    adjusted = holm([1.0 if each.p is None else each.p for each in found]) if found else []
    correction = Correction("Holm", TEST, len(found))
    return [
        _summary(material, each, None if each.p is None else float(p), correction, stage)
        for each, p in zip(found, adjusted, strict=True)
    ]


def _over_tasks(material: Material, arm: Arm, scales: dict[str | None, float], stage: Stage) -> _OverTasks:
    assert arm.reference is not None
    key = material.study.metric.key
    by_task: dict[str, Estimate] = {}
    columns: list[dict[str, float]] = []
    for task in material.tasks:
        ours, theirs = material.at(arm.name, stage), material.at(arm.reference, stage)
        pairs = pair_up(ours, theirs, places(material, stage, task), key)
        found = differences(pairs.found, key)[0]
        columns.append({point.replicate: point.value / scales[task] for point in found})
        if found:
            by_task[str(task)] = estimate(t_interval([point.value for point in found]))
    whole = [seeds for seeds in columns[0] if all(seeds in column for column in columns)]
    if not whole:
        return _OverTasks(arm, by_task, None, None)
    table = np.array([[column[seeds] for column in columns] for seeds in whole])
    of_seeds = paired(table.mean(1)).p
    p = max(stratified_sign_flip(table), 1.0 if of_seeds is None else of_seeds)
    return _OverTasks(arm, by_task, table, p)


def _summary(
    material: Material, found: _OverTasks, p: float | None, correction: Correction, stage: Stage
) -> TaskSummary:
    arm = found.arm
    assert arm.reference is not None
    if found.table is None:
        said = f"{arm.name} and {arm.reference} have no seed with results on all tasks."
        none = Estimate(0.0, None, None, 0)
        return TaskSummary(
            arm.name, arm.reference, none, True, found.by_task, None, None, said, conclusion="missing", stage=stage
        )
    iqm = estimate(paired_iqm_interval(found.table))
    conclusion, said = _conclude(material, found, iqm, p, correction)
    said = ("On fresh seeds: " if stage == "confirm" else "") + said
    return TaskSummary(
        arm.name, arm.reference, iqm, True, found.by_task, found.p, p, said, conclusion=conclusion, stage=stage
    )


def _conclude(
    material: Material, found: _OverTasks, iqm: Estimate, p: float | None, correction: Correction
) -> tuple[Conclusion, str]:
    assert found.table is not None and p is not None
    arm, reference = found.arm.name, found.arm.reference
    seeds, tasks = found.table.shape
    sign = 1 if material.study.metric.mode == "max" else -1
    ahead = sum(sign * each.value > 0 for each in found.by_task.values())
    shown = (
        f"interquartile mean of the standardized paired differences {interval(iqm)} ({correction.words(p, seeds)}); "
        f"its mean is better on {ahead} of {counted(tasks, 'task')}"
    )
    enough = seeds >= LEAST_SEEDS and seeds * tasks >= LEAST_RUNS
    if not enough:
        return "not powered", f"Not powered over {counted(tasks, 'task')}: {arm} against {reference}, {shown}."
    same_side = iqm.value * float(found.table.mean()) > 0
    if p < LEVEL and iqm.low is not None and excludes_zero(iqm) and same_side:
        word: Conclusion = "better" if sign * iqm.value > 0 else "worse"
        return word, f"Over {counted(tasks, 'task')} {arm} is {word} than {reference}: {shown}."
    return "undecided", f"Over {counted(tasks, 'task')} no difference between {arm} and {reference} is shown: {shown}."
