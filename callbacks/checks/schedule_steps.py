"""How many steps there are, and what the learning rate does in them."""

import math
from collections.abc import Iterable

from ...contracts.finding import Finding, ok
from ...models.parameter_groups import MULTIPLIER
from ...models.schedule import Schedule
from ..planned_steps import total_steps
from .check import Check, Subject

POINTS = 1000


class ScheduleSteps(Check):
    section = "configuration"

    def look(self, subject: Subject) -> Iterable[Finding]:
        trainer, total = subject.trainer, total_steps(subject.trainer)
        if total is None:
            yield ok("steps", "without end: no trainer.max_epochs and no trainer.max_steps")
            return
        seen = f"{total:,} optimizer steps"
        if math.isfinite(trainer.num_training_batches):
            each = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
            seen += f", {each:,} an epoch ({trainer.num_training_batches:,} batches)"
        yield ok("steps", seen)
        (optimizer,) = trainer.optimizers
        group = optimizer.param_groups[0]
        rate = group.get("initial_lr", group["lr"])
        yield rates(subject.module.schedule, total, None if rate is None else float(rate) / group.get(MULTIPLIER, 1.0))


def rates(schedule: Schedule | None, total: int, rate: float | None) -> Finding:
    """
    Args:
        schedule: None where the rate is constant.
        total: optimizer steps.
        rate: of the optimizer; None where it finds its own.
    """
    name = "learning rate"
    if rate is None:
        return ok(name, "the optimizer finds its own")
    if not rate:
        cure = "Set model.init_args.optimizer.init_args.lr above 0."
        return Finding(name, "error", "0 in every step, so that nothing is trained", cure)
    if schedule is None:
        return ok(name, f"{rate:g} throughout (no schedule)")
    steps = sorted({round(i * (total - 1) / POINTS) for i in range(POINTS + 1)})
    course = {step: schedule.multiplier(step, total) for step in steps}
    top = max(steps, key=lambda step: course[step])
    kind = type(schedule).__name__
    if not course[top] > 0:
        return Finding(name, "error", f"{kind} makes it 0 in every step", "Choose another model.init_args.schedule.")
    seen = f"{kind}: {rate * course[0]:.2g} at first, {rate * course[top]:.2g} at step {top + 1:,}, "
    seen += f"{rate * course[steps[-1]]:.2g} at the end"
    if schedule.warmup and schedule.warmup * total < 1:
        cure = "Raise model.init_args.schedule.init_args.warmup, or train for more steps."
        return Finding(name, "warning", f"{seen}; a warm-up of {schedule.warmup:g} is less than one step", cure)
    return ok(name, seen)
