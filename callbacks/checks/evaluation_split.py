"""Whether anything is held out."""

from collections.abc import Iterable

from ...contracts.data import EvaluationSource
from ...contracts.finding import Finding, ok
from .check import Check, Subject


class EvaluationSplit(Check):
    section = "data"

    def look(self, subject: Subject) -> Iterable[Finding]:
        name, trainer = "validation split", subject.trainer
        if trainer.limit_val_batches == 0:
            yield ok(name, "switched off (trainer.limit_val_batches: 0); the last weights are kept")
            return
        rows = sum(audit["rows"] for _, audit in subject.audits("validation"))
        if rows:
            yield ok(name, f"{rows:,} rows")
        elif not isinstance(subject.data, EvaluationSource):
            yield ok(name, f"not known: {type(subject.data).__name__} has no evaluation_loader")
        elif subject.data.evaluation_loader("validation") is not None:
            yield ok(name, "present")
        else:
            yield Finding(
                name,
                "warning",
                "there is none, so that the last weights are kept and nothing tells overfitting",
                "Add a validation file to data.init_args.source, or give data.init_args.splits a share of the "
                "training rows (splits: {validation: 0.1}).",
            )
