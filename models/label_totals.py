"""Right, predicted and true rows by label, over batches and ranks."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .label_counts import LARGEST_TABLE, LabelCounts
from .totals import Totals


class LabelTotals(Totals):
    """Counts by label, and the table that they make.

    Args:
        labels: their names.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__(3, len(labels), dtype=torch.int64)
        self.labels = list(labels)

    def add(self, right: Tensor, predicted: Tensor, true: Tensor) -> None:
        """[C] counts each."""
        self.update(torch.stack([right, predicted, true]).to(self.total.device))

    def counts(self) -> LabelCounts:
        return LabelCounts(*self.compute().cpu())

    def table(self) -> dict[str, Any]:
        """Of each label rows, predictions, precision, recall and F1."""
        return too_many(self.labels) or self.counts().table(self.labels)


def too_many(labels: Sequence[str]) -> dict[str, str]:
    """In the place of a table that nobody could read; empty where there can be one."""
    if len(labels) <= LARGEST_TABLE:
        return {}
    return {"missing": f"{len(labels)} labels, and tables have at most {LARGEST_TABLE}"}
