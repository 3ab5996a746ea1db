"""Metrics of one choice out of some."""

from typing import Any

from ..contracts.batch import Batch
from .classification_meter import brier
from .meter import Meter, Reading
from .scored import Scored
from .top_probabilities import TopProbabilities
from .totals import Totals


class ChoiceMeter(Meter):
    """nll, accuracy, brier and the calibration of ``ClassificationMeter``, whatever the number of choices."""

    def __init__(self) -> None:
        super().__init__()
        self.brier, self.top = Totals(), TopProbabilities()

    def update(self, scored: Scored, batch: Batch) -> None:
        super().update(scored, batch)
        probabilities = scored.logits.float().softmax(-1)
        confidence, prediction = probabilities.max(-1)
        self.top.update(confidence, prediction == scored.targets)
        self.brier.update(brier(probabilities, scored.targets).sum())

    def readings(self) -> dict[str, Reading]:
        return {
            "nll": self.mean_nll(),
            "accuracy": self.top.kept()[1].double().mean().item(),
            "brier": (self.brier.compute() / self.tokens.compute()).item(),
            **self.top.compute(),
        }

    def tables(self) -> dict[str, Any]:
        return {"reliability": self.top.bins()}
