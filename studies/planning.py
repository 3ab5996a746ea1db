"""From a study file to a plan: designs, resolved configurations, equal budgets and limits."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..contracts.errors import UserError
from ..contracts.files import write_atomically
from .arm import Arm
from .design import arms_of
from .matching import PER_STEP, matched_steps
from .measurements import Measurements, resolve_measured
from .plan import Plan, defaults_of, without_harmless
from .resolver import resolve
from .size import most_confirmed
from .study import Study
from .trial_parsing import parsed_values
from .trial_values import different_settings
from .variants import tasks_of, variants_of

LENGTHS = ("trainer.max_steps", "trainer.max_epochs", "trainer.min_steps", "trainer.min_epochs", "trainer.max_time")


def plan_of(study: Study, measure: bool = False) -> Plan:
    """Everything that can be known and refused before anything runs.

    Args:
        study: what the file says.
        measure: take a few real training steps of every arm; done in any case where budgets are matched by tokens,
            floating-point operations or time. Once measured, the study's folder remembers it.

    Raises:
        UserError: the design cannot be, a configuration is wrong, two arms are one, budgets cannot be made equal, a
            search has nothing to search, or there are more cells than the limit.
    """
    arms = arms_of(study)
    require_within_limit(study, arms)
    require_budgets_hold(study)
    variants = tuple(variants_of(study, arms))
    measure = measure or study.match in ("tokens", "flops", "time")
    known = Measurements(study.folder)
    resolution = resolve_measured(study, variants) if measure else known.filled(resolve(study, variants))
    plan = Plan(replace(study, base=study.base.resolve()), arms, variants, resolution)
    require_different(plan)
    require_searchable(plan)
    return replace(plan, steps=matched_steps(plan), parsed=parsed_values(plan))


def require_within_limit(study: Study, arms: Sequence[Arm]) -> None:
    """Raises:
    UserError: more cells than ``limits.cells``.
    """
    places = len(arms) * len(tasks_of(study))
    parts = {
        "trials": places * study.tune.trials * len(study.tune.seeds) if study.tune else 0,
        "reported": places * len(study.replicates),
        "noise": 2 * study.noise,
        "confirmation": len(most_confirmed(study, arms)) * len(tasks_of(study)) * len(study.confirm.seeds)
        if study.confirm
        else 0,
    }
    if sum(parts.values()) > study.limits.cells:
        told = ", ".join(f"{number} {name}" for name, number in parts.items() if number)
        raise UserError(
            f"{study.file}: the study has {sum(parts.values())} cells ({told}, of {len(arms)} arms), and limits.cells "
            f"is {study.limits.cells}; raise it if that is meant, or take fewer levels, trials or replicates."
        )


def require_budgets_hold(study: Study) -> None:
    """Raises:
    UserError: the search varies what the budget fixes: the length of training, or what a step costs.
    """
    for dimension in study.tune.space if study.tune else ():
        key = ".".join(part for part in dimension.key.split(".") if part != "init_args")
        is_length = study.match != "none" and key in LENGTHS
        is_cost = study.match in PER_STEP and (key.startswith("data.") or key == "trainer.accumulate_grad_batches")
        if is_length or is_cost:
            what = "fixes the length of training" if is_length else "is counted for the arm's own steps"
            raise UserError(
                f"{study.file}: tune.space searches {dimension.key}, and match: {study.match} {what}, so that trials "
                "would not have the budget that is promised; search another key, make it a factor, or write match: "
                "none where trials may differ in what they spend."
            )


def require_different(plan: Plan) -> None:
    """Raises:
    UserError: two arms resolve to one configuration, so that they would be the same cells.
    """
    for task in plan.tasks:
        seen: dict[str, str] = {}
        for arm in plan.arms:
            content = json.dumps(without_harmless(plan.resolved(arm.name, task).config), sort_keys=True)
            if content in seen:
                where = "" if task is None else f" on {task}"
                raise UserError(
                    f"{plan.study.file}: arms {seen[content]!r} and {arm.name!r} resolve to the same configuration"
                    f"{where}, so that nothing could be compared; one of them sets what the other has by default."
                )
            seen[content] = arm.name


def require_searchable(plan: Plan) -> None:
    """Raises:
    UserError: an arm lacks a key that is searched, or has fewer different settings than trials.
    """
    tune = plan.study.tune
    if tune is None:
        return
    for task in plan.tasks:
        for arm in plan.arms:
            most = different_settings(tune, defaults_of(plan, arm.name, task))
            if most is not None and most < tune.trials:
                raise UserError(
                    f"{plan.study.file}: arm {arm.name!r} has only {most} different settings in tune.space, its own "
                    f"default among them, and every arm gets as many trials, none of them twice; write tune.trials: "
                    f"{most}, or another value."
                )


def write_study(plan: Plan, folder: Path) -> None:
    """``plan.json``, and ``study.yaml`` with the text of the file."""
    write_atomically(folder / "study.yaml", plan.study.text)
    plan.save(folder)
