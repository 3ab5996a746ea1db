"""What counts of right, predicted and true rows say of each label. Legend: C labels, n rows."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

LARGEST_TABLE = 100
"""Labels of a table in the record; more are a file of their own kind, and no picture shows them."""


@dataclass(frozen=True)
class LabelCounts:
    """Rows by label; a fraction without a denominator is undefined, never 0.

    Args:
        right: [C] rows of a label for which it was predicted.
        predicted: [C] rows for which it was predicted.
        true: [C] rows that have it.
    """

    right: Tensor
    predicted: Tensor
    true: Tensor

    @property
    def f1(self) -> Tensor:
        """[C] 2 right / (predicted + true); NaN for a label that no row has and no prediction."""
        return 2 * self.right.double() / (self.predicted + self.true)

    def macro_f1(self) -> float:
        """Mean of F1 over the labels that a row or a prediction has, scikit-learn's with ``zero_division=nan``."""
        return self.f1.nanmean().item()

    def micro_f1(self) -> float:
        return (2 * self.right.sum().double() / (self.predicted.sum() + self.true.sum())).item()

    def mcc(self) -> float:
        """Matthews' correlation of several classes (Gorodkin, 10.1016/j.compbiolchem.2004.09.006); NaN where all rows
        or all predictions are of one class."""
        rows, right = self.true.sum().double(), self.right.sum().double()
        predicted, true = self.predicted.double(), self.true.double()
        shared = rows * right - predicted @ true
        return (shared / ((rows**2 - predicted @ predicted) * (rows**2 - true @ true)).sqrt()).item()

    def table(self, labels: list[str]) -> dict[str, list[Any]]:
        """Columns with one entry per label; None where a number is undefined."""
        return {
            "label": labels,
            "rows": self.true.long().tolist(),
            "predicted": self.predicted.long().tolist(),
            "precision": defined(self.right.double() / self.predicted),
            "recall": defined(self.right.double() / self.true),
            "f1": defined(self.f1),
        }


def defined(values: Tensor) -> list[float | None]:
    """With None for NaN, which JSON has not."""
    return [None if value != value else value for value in values.tolist()]
