"""What is measured of the base before training and of the best weights after it, beside the metrics of a split."""

import re
from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ..contracts.verdict import Evidence, Verdict
from .evaluation import callbacks_of


class Measure(Callback, ABC):
    """Leaves what it finds in the run's record, under its class's name in snake_case.

    ``Baseline`` calls ``measure_base`` before the first step and ``FinalEvaluation`` calls ``measure_best`` at the end;
    without these two callbacks in the trainer neither is called. A run that goes on is not measured at its base again:
    what was found there belongs into ``state_dict``.

    ``verdict`` is what it concludes about the run's fit; most conclude nothing.
    """

    verdict: Verdict | None = None

    def measure_base(self, trainer: Trainer, module: LightningModule) -> None:
        """The module computes the untouched base's function; not called where the adapter has lost it."""

    def measure_best(self, trainer: Trainer, module: LightningModule) -> None:
        """The module has its best weights."""

    def evidence(self) -> list[Evidence]:
        """What its newest measurement adds to a verdict on the fit, for a reader: it changes no label."""
        return []

    @abstractmethod
    def findings(self) -> dict[str, Any]:
        """JSON without a number that is not finite; what could not be measured is ``{"missing": reason}``."""

    @classmethod
    def name(cls) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


def measures_of(trainer: Trainer) -> list[Measure]:
    return [callback for callback in callbacks_of(trainer) if isinstance(callback, Measure)]


def findings_of(trainer: Trainer) -> dict[str, Any]:
    return {measure.name(): found for measure in measures_of(trainer) if (found := measure.findings())}


def verdict_of(trainer: Trainer) -> Verdict | None:
    return next((measure.verdict for measure in measures_of(trainer) if measure.verdict is not None), None)


def missing(reason: str) -> dict[str, str]:
    """In the place of what could not be measured."""
    return {"missing": reason}
