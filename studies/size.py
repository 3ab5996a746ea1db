"""How many cells a study has, before results have decided what all of them are."""

from collections.abc import Sequence

from .arm import Arm
from .cell import Stage
from .choices import Choices
from .plan import Plan, cells_of
from .selection import companions
from .study import Study


def stage_sizes(plan: Plan) -> dict[Stage, int]:
    """Cells of each stage that the study has; of the confirmation the most that there can be."""
    study = plan.study
    defaults = {(arm.name, task): 0 for arm in plan.arms for task in plan.tasks}
    chosen = Choices(defaults if study.tune else {}, confirmed=most_confirmed(plan.study, plan.arms))
    found: dict[Stage, int] = {}
    if study.tune is not None:
        found["tune"] = len(defaults) * study.tune.trials * len(study.tune.seeds)
    for cell in cells_of(plan, chosen):
        if cell.stage != "tune":
            found[cell.stage] = found.get(cell.stage, 0) + 1
    return found


def most_confirmed(study: Study, arms: Sequence[Arm]) -> tuple[str, ...]:
    """Survivors that bring as many other arms with them as there can be."""
    if study.confirm is None:
        return ()
    placebos = {arm.placebo for arm in arms}
    left = [arm.name for arm in arms if arm.reference is not None and arm.name not in placebos]
    chosen: list[str] = []
    while left and len(chosen) < study.confirm.arms:
        chosen.append(max(left, key=lambda name: len(companions([*chosen, name], arms))))
        left.remove(chosen[-1])
    return companions(chosen, arms)
