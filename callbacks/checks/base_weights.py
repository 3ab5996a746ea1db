"""Whether the weights that were loaded are numbers."""

from collections.abc import Iterable

from ...contracts.finding import Finding, ok
from .check import Check, Subject


class BaseWeights(Check):
    """One pass over all weights, so that it belongs to what takes time."""

    section = "model"
    needs_trial = True

    def look(self, subject: Subject) -> Iterable[Finding]:
        odd = [
            name
            for name, p in subject.module.named_parameters()
            if p.is_floating_point() and not bool(p.detach().isfinite().all())
        ]
        if odd:
            yield Finding(
                "weights",
                "error",
                f"{len(odd)} tensors hold a value that is not finite, {odd[0]} first",
                f"The files of model.init_args.base ({subject.module.base}) are damaged: get them again.",
            )
        else:
            trainable, total = subject.module.parameter_counts()
            yield ok("weights", f"finite; {trainable:,} of {total:,} train")
