"""What is to be resolved of a study: each arm on each task, with the overrides that make it."""

from collections.abc import Sequence

from ..contracts.errors import UserError
from .arm import Arm
from .overriding import keys_set
from .resolution import Variant
from .study import Factor, Level, Overrides, Study


def tasks_of(study: Study) -> tuple[str | None, ...]:
    """Levels of the tasks' factor; one None of a study without tasks."""
    factor = next((factor for factor in study.factors if factor.name == study.tasks), None)
    return (None,) if factor is None else tuple(level.name for level in factor.levels)


def variant_name(arm: str, task: str | None) -> str:
    """Of an arm on a task, unique in a study: names of levels hold no bar."""
    return arm if task is None else f"{task} | {arm}"


def variants_of(study: Study, arms: Sequence[Arm]) -> list[Variant]:
    """Every arm on every task.

    Raises:
        UserError: one level undoes what another one sets.
    """
    return [
        Variant(variant_name(arm.name, task), _overrides(study, arm, task)) for task in tasks_of(study) for arm in arms
    ]


def _overrides(study: Study, arm: Arm, task: str | None) -> tuple[tuple[str, Overrides], ...]:
    levels = arm.levels if study.tasks is None or task is None else {**arm.levels, study.tasks: task}
    chosen = [
        (factor, level)
        for factor in study.factors
        for level in factor.levels
        if levels.get(factor.name) == level.name and level.overrides
    ]
    _require_all_count(chosen)
    everywhere = ((f"{study.file} (overrides)", study.overrides),) if study.overrides else ()
    return (
        *everywhere,
        *((f"{level.where} (factor {factor.name}, level {level.name})", level.overrides) for factor, level in chosen),
    )


def _require_all_count(chosen: Sequence[tuple[Factor, Level]]) -> None:
    """A level may refine what one before it sets, and append to it, but not take its place."""
    said: dict[str, tuple[Factor, Level]] = {}
    for factor, level in chosen:
        for key in keys_set(level.overrides):
            if key.endswith("+"):
                continue
            place = key.removesuffix(".class_path")
            for earlier, (other, theirs) in said.items():
                if earlier.rstrip("+") == place or earlier.startswith(f"{place}."):
                    raise UserError(
                        f"{level.where}: factor {factor.name}, level {level.name} sets {key} and so undoes {earlier} "
                        f"of factor {other.name}, level {theirs.name} ({theirs.where}). Append to a list with KEY+, "
                        "set the class in the factor that stands first and its arguments behind it, or say the key in "
                        "one of them."
                    )
        said.update((key, (factor, level)) for key in keys_set(level.overrides))
