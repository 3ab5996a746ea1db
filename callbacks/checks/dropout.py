"""Whether forwards differ where a method lives from that (``Regularizer.needs_noise``)."""

from collections.abc import Iterable

from ...contracts.finding import Finding, ok
from .check import Check, Subject


class Dropout(Check):
    section = "model"
    needs_trial = True

    def look(self, subject: Subject) -> Iterable[Finding]:
        assert subject.trial is not None
        methods = [name for name, method in subject.module.stack if method.needs_noise]
        if quiet := quiet_methods(subject):
            yield Finding(
                "dropout",
                "error",
                f"{' and '.join(quiet)} compares forwards, and a forward of this model draws no random number",
                "Give the adapter some (model.init_args.adapter.init_args.lora_dropout: 0.1), or remove it from "
                "model.init_args.regularizers.",
            )
        else:
            what = "training forwards draw random numbers" if subject.trial.drew else "none in training forwards"
            yield ok("dropout", f"{what}; {', '.join(methods) + ' needs it' if methods else 'no method needs it'}")


def quiet_methods(subject: Subject) -> list[str]:
    """The methods that need noise where there is none."""
    assert subject.trial is not None
    return [name for name, method in subject.module.stack if method.needs_noise and not subject.trial.drew]
