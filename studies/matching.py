"""Equal budgets: so many optimizer steps of each arm that it spends what the baseline spends."""

from collections.abc import Mapping

from ..contracts.errors import UserError
from .plan import Plan
from .resolution import Measured, Resolved
from .study import Match
from .variants import variant_name

PER_STEP: Mapping[Match, tuple[str, str]] = {
    "tokens": ("tokens_per_step", "input tokens"),
    "flops": ("flops_per_step", "floating-point operations"),
    "time": ("seconds_per_step", "seconds"),
}


def matched_steps(plan: Plan) -> dict[str, int]:
    """Name of a variant -> ``trainer.max_steps``; empty where arms run as they are configured.

    ``steps`` changes nothing: it is verified where the numbers are known. All others take the baseline's steps as
    configured, times its budget of a step over the arm's, rounded, at least 1; each task by itself.

    Raises:
        UserError: arms take different numbers of steps, or a budget cannot be measured.
    """
    match = plan.study.match
    if match == "none":
        return {}
    if match == "steps":
        for task in plan.tasks:
            _require_equal(plan, task)
        return {}
    found: dict[str, int] = {}
    for task in plan.tasks:
        baseline = plan.resolved(plan.baseline.name, task)
        budget = _per_step(plan, plan.baseline.name, baseline.measured) * planned_steps(plan, plan.baseline.name, task)
        for arm in plan.arms:
            spent = _per_step(plan, arm.name, plan.resolved(arm.name, task).measured)
            found[variant_name(arm.name, task)] = max(1, round(budget / spent))
    return found


def known_steps(resolved: Resolved) -> int | None:
    """Optimizer steps of a run as configured; None where only the data would tell."""
    if resolved.measured is not None:
        return resolved.measured.planned_steps
    trainer = resolved.config["trainer"]
    endless = trainer.get("max_epochs") in (None, -1)
    return trainer["max_steps"] if endless and trainer.get("max_steps", -1) > 0 else None


def planned_steps(plan: Plan, arm: str, task: str | None) -> int:
    """
    Raises:
        UserError: they are not known.
    """
    steps = known_steps(plan.resolved(arm, task))
    if steps is None:
        raise UserError(f"{plan.study.file}: match: {plan.study.match} needs the steps of arm {arm!r}, not measured.")
    return steps


def _require_equal(plan: Plan, task: str | None) -> None:
    steps = {arm.name: known_steps(plan.resolved(arm.name, task)) for arm in plan.arms}
    known = {arm: number for arm, number in steps.items() if number is not None}
    unequal, of = (known, "") if len(set(known.values())) > 1 else (_unequal_epochs(plan, task, steps), " epochs")
    if unequal:
        told = ", ".join(f"{arm}: {number}{of}" for arm, number in unequal.items())
        raise UserError(
            f"{plan.study.file}: match: steps wants equal optimizer steps, and the arms take {told}. Set "
            "trainer.max_steps (and trainer.max_epochs: -1) in overrides, match by tokens, flops or time, or write "
            "match: none where different steps are what is asked, as in a learning curve over the size of the data."
        )


def _unequal_epochs(plan: Plan, task: str | None, steps: Mapping[str, int | None]) -> dict[str, int]:
    """Arms whose steps were not measured and cannot be equal: they differ in their epochs and in nothing else of the
    data and the trainer."""
    alike: dict[str, dict[str, int]] = {}
    for arm in (arm for arm, number in steps.items() if number is None):
        config = plan.resolved(arm, task).config
        trainer = dict(config["trainer"])
        epochs, endless = trainer.pop("max_epochs", None), trainer.get("max_steps", -1) == -1
        if endless and isinstance(epochs, int) and epochs > 0 and trainer.get("max_time") is None:
            alike.setdefault(repr((config.get("data"), trainer)), {})[arm] = epochs
    return next((found for found in alike.values() if len(set(found.values())) > 1), {})


def _per_step(plan: Plan, arm: str, measured: Measured | None) -> float:
    name, title = PER_STEP[plan.study.match]
    value = None if measured is None else getattr(measured, name)
    if not value:
        raise UserError(
            f"{plan.study.file}: match: {plan.study.match} needs the {title} of a step, which could not be measured "
            f"for arm {arm!r}; match by another budget."
        )
    return value
