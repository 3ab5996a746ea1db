"""Rows of the table."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from ..arm import Arm
from ..design import baseline_of, in_order
from ..statistics.interval import t_interval
from ..statistics.multiplicity import holm
from ..statistics.paired import paired
from .analysis import ArmRow, Estimate, Point, Score
from .contrasts import differences, places
from .item_level import estimate
from .material import Material, Place, points, spread
from .pairing import pair_up
from .tasks import task_scales
from .wording import LEVEL, counted


def arm_rows(material: Material, scores: Sequence[Score]) -> list[ArmRow]:
    """In the order of the design."""
    best = best_arms(material, material.arms)
    placebos = {arm.placebo for arm in material.arms if arm.placebo is not None}
    baseline = baseline_of(material.study, in_order(material.study))
    return [
        _row(material, arm, scores, arm.name in best, arm.name in placebos, arm.levels == baseline)
        for arm in material.arms
    ]


def _row(material: Material, arm: Arm, scores: Sequence[Score], bold: bool, placebo: bool, baseline: bool) -> ArmRow:
    results = material.of(arm.name)
    found: dict[str, list[Point]] = {}
    missing: dict[str, str] = {}
    for score in scores:
        values, reasons = points(results, score.key)
        if values:
            found[score.key] = values
        if reasons:
            missing[score.key] = f"{counted(len(reasons), 'cell')}: {Counter(reasons).most_common(1)[0][0]}"
    verdicts = Counter(result.record.verdict.label for result in results if result.record.verdict is not None)
    return ArmRow(
        name=arm.name,
        levels=arm.levels,
        baseline=baseline,
        placebo=placebo,
        planned=material.planned,
        done=len(results),
        setting=results[0].cell.setting if results else {},
        scores={key: over_replicates(values, material.tasks) for key, values in found.items()},
        points=found,
        missing=missing,
        steps=spread((result.record for result in results), lambda record: record.cost.steps),
        bold=bold,
        verdicts=dict(verdicts),
    )


def over_replicates(values: Sequence[Point], tasks: Sequence[str | None]) -> Estimate:
    """Mean with its t interval over replicates; of several tasks each replicate's mean over them, where it has all."""
    by_seed: dict[str, list[float]] = {}
    for point in values:
        by_seed.setdefault(point.replicate, []).append(point.value)
    whole = [fmean(some) for some in by_seed.values() if len(some) == len(tasks)]
    if whole:
        return estimate(t_interval(whole))
    return Estimate(fmean(point.value for point in values), None, None, 0)


def best_arms(material: Material, among: Sequence[Arm]) -> set[str]:
    """The best arm and every arm that is not significantly worse: paired t tests against the best, Holm over arms.

    An arm that cannot be paired with the best is not among them, since nothing says that it is as good. Of several
    tasks each is put on its own scale first: differences divided by the standard deviation of the task's scores.
    """
    scales = task_scales(material)
    means = _means(material, among, scales)
    if len(means) < 2:
        return set()
    sign = 1 if material.study.metric.mode == "max" else -1
    best = max(means, key=lambda name: sign * means[name])
    others = [name for name in means if name != best]
    tests = [_against(material, name, best, scales) for name in others]
    tested = [(name, test) for name, test in zip(others, tests, strict=True) if test is not None]
    adjusted = holm([p for _, (p, _) in tested]) if tested else []
    equal = {
        name
        for (name, (_, mean)), p in zip(tested, adjusted, strict=True)
        if p >= LEVEL or sign * mean >= 0
    }  # fmt: skip
    return {best} | equal


def _against(material: Material, name: str, best: str, scales: dict[str | None, float]) -> tuple[float, float] | None:
    """p and mean of the paired differences; p is 1 of a single pair, and None says that they do not pair."""
    key = material.study.metric.key
    by_seed: dict[str, list[float]] = {}
    for task in material.tasks:
        planned: list[Place] = places(material, "report", task)
        pairs = pair_up(material.at(name), material.at(best), planned, key)
        for point in differences(pairs.found, key)[0]:
            by_seed.setdefault(point.replicate, []).append(point.value / scales[task])
    whole = [fmean(values) for values in by_seed.values() if len(values) == len(material.tasks)]
    if not whole:
        return None
    test = paired(whole)
    return 1.0 if test.p is None else test.p, test.mean


def _means(material: Material, among: Sequence[Arm], scales: dict[str | None, float]) -> dict[str, float]:
    """Arm -> mean of its scores on the primary metric, each task on its own scale."""
    key, found = material.study.metric.key, {}
    for arm in among:
        values = points(material.of(arm.name), key)[0]
        by_task = [[p.value / scales[task] for p in values if p.task == task] for task in material.tasks]
        if all(by_task):
            found[arm.name] = fmean(map(fmean, by_task))
    return found
