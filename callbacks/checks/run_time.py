"""How long the run will take, from the measured time of a typical batch."""

import math
from collections.abc import Iterable

from ...contracts.finding import Finding, ok
from ..planned_steps import total_steps
from .check import Check, Subject


class RunTime(Check):
    """Early stopping, the test split and metrics of generated text are not counted."""

    section = "cost"
    needs_trial = True

    def look(self, subject: Subject) -> Iterable[Finding]:
        trial, trainer, total = subject.trial, subject.trainer, total_steps(subject.trainer)
        assert trial is not None
        if not trial.step_seconds:
            return
        each = trial.step_seconds * trainer.accumulate_grad_batches
        if total is None:
            yield ok("time", f"{each:.3g} s a step; without end")
            return
        seen = f"training about {duration(each * total)} ({total:,} steps, {each:.2g} s each)"
        if trial.evaluation_seconds:
            passes, batches = evaluations(subject, total), sum(trainer.num_val_batches)
            whole = duration(passes * batches * trial.evaluation_seconds)
            seen += f", evaluation about {whole} ({passes} passes over {batches:,} batches)"
        yield ok("time", seen)


def evaluations(subject: Subject, total: int) -> int:
    """Passes over the validation split: before training, during it, and at the end."""
    trainer = subject.trainer
    every = trainer.val_check_batch
    batches = total * trainer.accumulate_grad_batches
    return 2 + (int(batches // every) if every and math.isfinite(every) else 0)


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
