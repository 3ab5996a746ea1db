"""Sums over batches and ranks."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from .losses import SUM_DTYPE


class Totals(Metric):
    """One sum for each cell of a shape.

    Args:
        shape: of what is added up; none for a single number.
        dtype: of the sums; int64 for counts.
    """

    full_state_update = False
    total: Tensor

    def __init__(self, *shape: int, dtype: torch.dtype = SUM_DTYPE) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")

    @property
    def update_called(self) -> bool:
        """torchmetrics warns of a metric that saw no batch; a sum of nothing is 0."""
        return True

    def update(self, part: Any) -> None:
        """Add a tensor of the shape, or a number."""
        self.total = self.total + part

    def compute(self) -> Tensor:
        return self.total
