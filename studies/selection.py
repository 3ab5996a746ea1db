"""What finished cells decide: the trial that an arm is reported with, and the arms that are run once more."""

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean

from ..contracts.metrics import Mode
from .arm import Arm

LEAST_PAIRS = 2


def best_trial(values: Mapping[int, Sequence[float | None]], mode: Mode) -> int | None:
    """The trial with the best mean over the tuning seeds; of equals the lower one.

    Args:
        values: trial -> score of each tuning seed, None of a cell that failed. A trial with one of these counts as
            worse than every trial without.
        mode: which way is better.

    Returns:
        None where every trial has a cell that failed.
    """
    sign = 1 if mode == "max" else -1
    means = {number: sign * fmean(some) for number, scores in values.items() if (some := _whole(scores))}
    return min(means, key=lambda number: (-means[number], number), default=None)


def survivors(
    differences: Mapping[str, Sequence[Sequence[float]]], mode: Mode, most: int, barred: Collection[str] = ()
) -> tuple[str, ...]:
    """The arms that screening found better than their references, those with the largest difference.

    Better is said of the mean of the paired differences alone; that it is significant is not asked, since the fresh
    seeds are there to tell. Of several tasks the means of the tasks are averaged.

    Args:
        differences: arm -> of each task, arm less reference by replicate, on a scale that tasks share. An arm with
            fewer than two pairs in a task cannot survive.
        mode: which way is better.
        most: arms.
        barred: arms that are never picked, e.g. placebos.

    Returns:
        The largest difference first, equal ones in the order of ``differences``.
    """
    sign = 1 if mode == "max" else -1
    means = {
        arm: sign * fmean(map(fmean, by_task))
        for arm, by_task in differences.items()
        if arm not in barred and by_task and all(len(pairs) >= LEAST_PAIRS for pairs in by_task)
    }
    better = [arm for arm, mean in means.items() if mean > 0]
    return tuple(sorted(better, key=lambda arm: -means[arm])[:most])


def companions(chosen: Sequence[str], arms: Sequence[Arm]) -> tuple[str, ...]:
    """The survivors, their placebos and what each of these is compared with, in the order of the design."""
    by_name = {arm.name: arm for arm in arms}
    wanted = set(chosen) | {placebo for name in chosen if (placebo := by_name[name].placebo)}
    wanted |= {reference for name in wanted if (reference := by_name[name].reference)}
    return tuple(arm.name for arm in arms if arm.name in wanted)


def _whole(scores: Sequence[float | None]) -> list[float] | None:
    found = [score for score in scores if score is not None]
    return found if found and len(found) == len(scores) else None
