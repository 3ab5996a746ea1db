"""Rows of the table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, pstdev
from typing import Any, Literal

from ..arm import Arm
from ..design import baseline_of, in_order
from ..results import CellResult
from ..statistics.interval import t_interval
from ..statistics.multiplicity import holm
from ..statistics.paired import paired
from .analysis import ArmRow, Estimate, Point, Score
from .contrasts import arms_at, differences, places
from .item_level import estimate
from .material import Material, Place, points, spread
from .pairing import pair_up
from .tasks import task_scales
from .wording import LEVEL, counted

Reported = Literal["report", "confirm"]
Places = dict[str | None, tuple[float, float]]
"""Task -> mean and standard deviation of a score over all arms."""


def arm_rows(material: Material, scores: Sequence[Score], stage: Reported = "report") -> list[ArmRow]:
    """In the order of the design; of the confirmation those that were picked for it, and their references."""
    arms = arms_at(material, stage)
    best = best_arms(material, arms, stage)
    own = {score.key: _places(material, arms, score.key, stage) if score.standardized else {} for score in scores}
    return [_row(material, arm, own, arm.name in best, stage) for arm in arms]


def _row(material: Material, arm: Arm, scores: dict[str, Places], bold: bool, stage: Reported) -> ArmRow:
    results = material.of(arm.name, stage)
    found: dict[str, list[Point]] = {}
    missing: dict[str, str] = {}
    for key in scores:
        values, reasons = points(results, key)
        if values:
            found[key] = values
        if reasons:
            missing[key] = f"{counted(len(reasons), 'cell')}: {Counter(reasons).most_common(1)[0][0]}"
    verdicts = Counter(result.record.verdict.label for result in results if result.record.verdict is not None)
    tasks = material.tasks
    settings = {str(task): _setting(results, task) for task in tasks}
    return ArmRow(
        name=arm.name,
        levels=arm.levels,
        baseline=arm.levels == baseline_of(material.study, in_order(material.study)),
        placebo=any(arm.name == each.placebo for each in material.arms),
        planned=sum(len(places(material, stage, task)) for task in material.tasks),
        done=len(results),
        setting=_common(list(settings.values())),
        scores={key: over_replicates(_placed(values, scores[key]), material.tasks) for key, values in found.items()},
        points=found,
        missing=missing,
        steps=spread((result.record for result in results), lambda record: record.cost.steps),
        bold=bold,
        verdicts=dict(verdicts),
        stage=stage,
        by_task=_by_task(found, material.tasks),
        settings=settings if len(tasks) > 1 else {},
    )


def _setting(results: Sequence[CellResult], task: str | None) -> dict[str, Any]:
    """What the search chose on a task."""
    return next((result.cell.setting for result in results if result.cell.task == task), {})


def _common(settings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = settings[0]
    return {k: v for k, v in first.items() if all(k in other and other[k] == v for other in settings)}


def _by_task(found: dict[str, list[Point]], tasks: Sequence[str | None]) -> dict[str, dict[str, Estimate]]:
    if len(tasks) < 2:
        return {}
    split = {(task, key): [p.value for p in some if p.task == task] for task in tasks for key, some in found.items()}
    return {
        str(task): {key: estimate(t_interval(split[task, key])) for key in found if split[task, key]} for task in tasks
    }


def _places(material: Material, arms: Sequence[Arm], key: str, stage: Reported) -> Places:
    every = [point for arm in arms for point in points(material.of(arm.name, stage), key)[0]]
    values = {task: [point.value for point in every if point.task == task] for task in material.tasks}
    return {task: (fmean(some), pstdev(some) or 1.0) for task, some in values.items() if some}


def _placed(values: Sequence[Point], where: Places) -> list[Point]:
    """In standard deviations of each task's scores around their mean; as they are where ``where`` is empty."""
    if not where:
        return list(values)
    return [replace(p, value=(p.value - where[p.task][0]) / where[p.task][1]) for p in values]


def over_replicates(values: Sequence[Point], tasks: Sequence[str | None]) -> Estimate:
    """Mean with its t interval over replicates; of several tasks each replicate's mean over them, where it has all."""
    by_seed: dict[str, list[float]] = {}
    for point in values:
        by_seed.setdefault(point.replicate, []).append(point.value)
    whole = [fmean(some) for some in by_seed.values() if len(some) == len(tasks)]
    if whole:
        return estimate(t_interval(whole))
    return Estimate(fmean(point.value for point in values), None, None, 0)


def best_arms(material: Material, among: Sequence[Arm], stage: Reported = "report") -> set[str]:
    """The best arm and every arm that is not significantly worse: paired t tests against the best, Holm over arms.

    An arm that cannot be paired with the best is not among them, since nothing says that it is as good. Of several
    tasks each is put on its own scale first: differences divided by the standard deviation of the task's scores.
    """
    scales = task_scales(material)
    means = _means(material, among, scales, stage)
    if len(means) < 2:
        return set()
    sign = 1 if material.study.metric.mode == "max" else -1
    best = max(means, key=lambda name: sign * means[name])
    others = [name for name in means if name != best]
    tests = [_against(material, name, best, scales, stage) for name in others]
    tested = [(name, test) for name, test in zip(others, tests, strict=True) if test is not None]
    adjusted = holm([p for _, (p, _) in tested]) if tested else []
    equal = {
        name
        for (name, (_, mean)), p in zip(tested, adjusted, strict=True)
        if p >= LEVEL or sign * mean >= 0
    }  # fmt: skip
    return {best} | equal


def _against(
    material: Material, name: str, best: str, scales: dict[str | None, float], stage: Reported
) -> tuple[float, float] | None:
    """p and mean of the paired differences; p is 1 of a single pair, and None says that they do not pair."""
    key = material.study.metric.key
    by_seed: dict[str, list[float]] = {}
    for task in material.tasks:
        planned: list[Place] = places(material, stage, task)
        pairs = pair_up(material.at(name, stage), material.at(best, stage), planned, key)
        for point in differences(pairs.found, key)[0]:
            by_seed.setdefault(point.replicate, []).append(point.value / scales[task])
    whole = [fmean(values) for values in by_seed.values() if len(values) == len(material.tasks)]
    if not whole:
        return None
    test = paired(whole)
    return 1.0 if test.p is None else test.p, test.mean


def _means(
    material: Material, among: Sequence[Arm], scales: dict[str | None, float], stage: Reported
) -> dict[str, float]:
    """Arm -> mean of its scores on the primary metric, each task on its own scale."""
    key, found = material.study.metric.key, {}
    for arm in among:
        values = points(material.of(arm.name, stage), key)[0]
        by_task = [[p.value / scales[task] for p in values if p.task == task] for task in material.tasks]
        if all(by_task):
            found[arm.name] = fmean(map(fmean, by_task))
    return found
