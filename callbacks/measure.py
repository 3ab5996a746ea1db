"""What is measured of the base before training and of the best weights after it, beside the metrics of a split."""

import re
from abc import ABC, abstractmethod
from collections import Counter
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ..contracts.verdict import Evidence, Verdict
from .averages import require_average_behind
from .evaluation import callbacks_of
from .recordable import recordable, recordable_verdict


class Measure(Callback, ABC):
    """Leaves what it finds in the run's record, under its class's name in snake_case.

    ``Baseline`` calls ``measure_base`` before the first step, and ``FinalEvaluation`` calls ``measure_best`` and then
    ``conclude`` at the end; without these two callbacks in the trainer none is called. A run that goes on is not
    measured at its base again: what was found there belongs into ``state_dict``.

    ``verdict`` is what it concludes about the run's fit; most conclude nothing.
    """

    verdict: Verdict | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raises:
        UserError: it would measure other weights than those that are validated.
        """
        if type(self).on_validation_epoch_end is not Callback.on_validation_epoch_end:
            require_average_behind(self, trainer)

    def measure_base(self, trainer: Trainer, module: LightningModule) -> None:
        """The module computes the untouched base's function; not called where the adapter has lost it."""

    def measure_best(self, trainer: Trainer, module: LightningModule) -> None:
        """The module has its best weights."""

    def conclude(self, trainer: Trainer, module: LightningModule) -> None:
        """After ``measure_best`` of every measure: what draws on the evidence of others."""

    def evidence(self) -> list[Evidence]:
        """What its newest measurement adds to a verdict on the fit, for a reader: it changes no label."""
        return []

    @abstractmethod
    def findings(self) -> dict[str, Any]:
        """JSON; what could not be measured is ``{"missing": reason}``, and so is in the record what is not finite."""

    @classmethod
    def name(cls) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


def measures_of(trainer: Trainer) -> list[Measure]:
    return [callback for callback in callbacks_of(trainer) if isinstance(callback, Measure)]


def findings_of(trainer: Trainer) -> dict[str, Any]:
    """By the measure's name; of several of a class the second is ``NAME_2``, in the order of the trainer."""
    seen, found = Counter[str](), {}
    for measure in measures_of(trainer):
        name = measure.name()
        seen[name] += 1
        if finding := measure.findings():
            found[name if seen[name] == 1 else f"{name}_{seen[name]}"] = recordable(finding)
    return found


def verdict_of(trainer: Trainer) -> Verdict | None:
    found = next((measure.verdict for measure in measures_of(trainer) if measure.verdict is not None), None)
    return None if found is None else recordable_verdict(found)


def missing(reason: str) -> dict[str, str]:
    """In the place of what could not be measured."""
    return {"missing": reason}
