"""Whether training gets through its first steps on the longest batch."""

from collections.abc import Iterable

from ...contracts.finding import Finding, ok
from ..out_of_memory import evaluation_keys, training_keys
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
            yield Finding(name, "error", trial.not_finite.rstrip("."))
        elif trial.out_of_memory == "evaluation":
            cure = f"Lower {evaluation_keys(subject.config)}."
            yield Finding("memory", "error", "out of memory on the longest validation batch", cure)
        elif trial.out_of_memory is not None:
            seen = f"out of memory in the first training steps; the longest batch has {rows} x {width} tokens"
            yield Finding("memory", "error", seen, f"Lower {training_keys(subject.config)}.")
        elif not trial.tokens:
            seen = "the longest batch and a typical one have no supervised token"
            yield Finding(name, "error", seen, "Look at data.init_args.template: without targets nothing is learnt.")
        else:
            yield ok(name, f"loss and gradient finite, on the longest batch too: {rows} x {width} tokens")
