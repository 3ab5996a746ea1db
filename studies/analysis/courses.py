"""Learning curves of the reported cells."""

from collections.abc import Sequence

from ..results import CellResult
from .analysis import Course
from .material import Material

UNKNOWN = "not judged"


def courses(material: Material) -> list[Course]:
    """Of each arm that has one; over the tasks of a study, cell by cell."""
    name = material.study.metric.key.partition("/")[2]
    found = []
    for arm in material.arms:
        results = [result for result in material.of(arm.name) if result.record.history]
        if not results:
            continue
        logged = name if all(_curve(result, name)[0] for result in results) else "nll"
        found.append(
            Course(
                arm.name,
                logged,
                [_curve(result, logged) for result in results],
                [_curve(result, "train_nll") for result in results],
                [UNKNOWN if (v := result.record.verdict) is None else v.label for result in results],
            )
        )
    return found


def _curve(result: CellResult, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of the validations that have it."""
    entries: Sequence[dict[str, float]] = [entry for entry in result.record.history if name in entry]
    return [int(entry["step"]) for entry in entries], [entry[name] for entry in entries]
