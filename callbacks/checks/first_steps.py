"""Whether training gets through its first steps on the longest batch."""

from collections.abc import Iterable

from ...contracts.finding import Finding, ok
from .check import Check, Subject
from .dropout import quiet_methods


class FirstSteps(Check):
    section = "model"
    needs_trial = True

    def look(self, subject: Subject) -> Iterable[Finding]:
        trial, name = subject.trial, "first steps"
        assert trial is not None
        rows, width = trial.shape
        if trial.refused is not None:
            if not quiet_methods(subject):
                yield Finding(name, "error", trial.refused.rstrip("."))
        elif trial.not_finite is not None:
            cure = "The ids are those of the longest batch, at the peak learning rate."
            yield Finding(name, "error", trial.not_finite.rstrip("."), cure)
        elif trial.out_of_memory is not None:
            yield out_of_memory(trial.out_of_memory, rows, width)
        elif not trial.tokens:
            yield Finding(
                name,
                "warning",
                f"the longest batch ({rows} x {width} tokens) has no supervised token",
                "Look at the longest rows; without a target they train nothing.",
            )
        else:
            yield ok(name, f"loss finite on the longest batch: {rows} x {width} tokens, {trial.tokens:,} supervised")


def out_of_memory(where: str, rows: int, width: int) -> Finding:
    name = "memory"
    if where == "evaluation":
        cure = f"Set data.init_args.loader.init_args.evaluation_batch_size to {max(1, rows // 2)} or less."
        return Finding(name, "error", "out of memory on the longest validation batch", cure)
    half = max(1, rows // 2)
    cure = (
        f"Set data.init_args.batch_size to {half} and trainer.accumulate_grad_batches to twice its value: the steps "
        "stay the same. Else lower data.init_args.context, or set "
        "model.init_args.loading.init_args.gradient_checkpointing: true."
    )
    return Finding(name, "error", f"out of memory on the longest training batch, {rows} x {width} tokens", cure)
