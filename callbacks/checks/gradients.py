"""Whether everything that should train is reached by a gradient."""

from collections.abc import Iterable

from ...contracts.finding import Finding, ok
from .check import Check, Subject

NAMED = 5


class Gradients(Check):
    """Of the data's gradient, before weight penalties and masks, over three steps: LoRA's A, gates and the like have
    none while what they are multiplied with is zero, which the first update ends. What an adapter leaves idle by
    design (``Adapter.idle``) is no finding."""

    section = "model"
    needs_trial = True

    def look(self, subject: Subject) -> Iterable[Finding]:
        trial, name = subject.trial, "gradients"
        assert trial is not None
        if trial.odd:
            yield Finding(
                name,
                "error",
                f"not finite in {len(trial.odd)} trainable tensors: {shortened(trial.odd)}",
                "Look at the base's weights and at the longest rows; with float16 use trainer.precision: bf16-mixed.",
            )
        if trial.silent:
            yield Finding(
                name,
                "error",
                f"{len(trial.silent)} trainable tensors got none in three steps: {shortened(trial.silent)}",
                "They would never move: take them out of what trains (model.init_args.adapter: target_modules, "
                "layers_to_transform, modules_to_save), or let the model's forward use them without detaching.",
            )
        if not trial.odd and not trial.silent and trial.step_seconds:
            count = sum(p.requires_grad for p in subject.module.parameters())
            yield ok(name, f"finite, and not zero in any of {count:,} trainable tensors")


def shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
