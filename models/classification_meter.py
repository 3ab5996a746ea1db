"""Metrics of one class out of several. Legend: N positions, C classes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..contracts.batch import Batch
from .label_totals import LabelTotals, too_many
from .losses import SUM_DTYPE
from .meter import Meter, Reading
from .scored import Scored
from .top_probabilities import TopProbabilities
from .totals import Totals


class ClassificationMeter(Meter):
    """nll, accuracy, macro_f1, mcc, brier, ece, ece_equal_mass and confidence_minus_accuracy.

    macro_f1 is the mean over the classes that occur in the labels or in the predictions, as scikit-learn has it where
    no list of labels is given; mcc is Matthews' correlation, missing where all labels or all predictions are the same.
    brier is the mean over rows of sum_k (p_k - y_k)^2, from 0 to 2 (Brier, 1950). ece is on the top probability in 15
    bins of equal width, ece_equal_mass in 15 bins of equal size (``reliability``): both are too large where a bin has
    few rows. confidence_minus_accuracy is the mean top probability minus the accuracy, above 0 where the model is
    overconfident.

    Tables: per_class, confusion_matrix (a row for each label, a column for each prediction) and reliability.

    Args:
        labels: names of the classes.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self.labels, classes = list(labels), len(labels)
        self.rows = LabelTotals(labels)
        self.confusion = None if too_many(labels) else Totals(classes, classes, dtype=torch.int64)
        self.brier, self.top = Totals(), TopProbabilities()

    def update(self, scored: Scored, batch: Batch) -> None:
        super().update(scored, batch)
        targets, classes = scored.targets, len(self.labels)
        probabilities = scored.logits.float().softmax(-1)
        confidence, prediction = probabilities.max(-1)
        is_right = prediction == targets
        self.top.update(confidence, is_right)
        self.brier.update(brier(probabilities, targets).sum())
        self.rows.add(*(found.bincount(minlength=classes) for found in (targets[is_right], prediction, targets)))
        if self.confusion is not None:
            cells = (targets * classes + prediction).bincount(minlength=classes**2)
            self.confusion.update(cells.reshape(classes, classes))

    def readings(self) -> dict[str, Reading]:
        counts, rows = self.rows.counts(), self.tokens.compute().item()
        return {
            "nll": self.mean_nll(),
            "accuracy": counts.right.sum().item() / rows,
            "macro_f1": counts.macro_f1(),
            "mcc": self.only_one("predictions", counts.predicted)
            or self.only_one("labels", counts.true)
            or counts.mcc(),
            "brier": self.brier.compute().item() / rows,
            **self.top.compute(),
        }

    def only_one(self, what: str, counts: Tensor) -> str | None:
        """Why nothing correlates with labels or predictions of which there is but one."""
        seen = counts.nonzero().flatten().tolist()
        return f"all {what} are {self.labels[seen[0]]!r}" if len(seen) == 1 else None

    def tables(self) -> dict[str, Any]:
        cells: dict[str, Any] = too_many(self.labels)
        if self.confusion is not None:
            cells = {"labels": self.labels, "counts": self.confusion.compute().tolist()}
        return {"per_class": self.rows.table(), "confusion_matrix": cells, "reliability": self.top.bins()}


def brier(probabilities: Tensor, targets: Tensor) -> Tensor:
    """sum_k (p_k - y_k)^2 of each position, in double precision where the device has it.

    Args:
        probabilities: [N, C]; targets: [N] class indices.
    """
    wide = probabilities.to(SUM_DTYPE)
    own = wide.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return wide.square().sum(-1) - 2 * own + 1
