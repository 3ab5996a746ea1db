"""How far probabilities are from frequencies. Legend: n predictions, M bins."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .label_counts import defined

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Predictions in bins of their top probability (Guo et al., arXiv:1706.04599).

    Args:
        lower: [M] bounds; a bin is (lower, upper].
        upper: [M].
        rows: [M] predictions.
        confidence: [M] sum of their top probabilities.
        right: [M] how many of them are right.
    """

    lower: Tensor
    upper: Tensor
    rows: Tensor
    confidence: Tensor
    right: Tensor

    def error(self) -> float:
        """ECE: the mean over predictions of |accuracy - confidence| of their bin; NaN of none."""
        return ((self.right - self.confidence).abs().sum() / self.rows.sum()).item()

    def table(self) -> dict[str, list[Any]]:
        """Columns with one entry per bin: its bounds, and of its predictions how many there are, mean and accuracy."""
        return {
            "lower": self.lower.tolist(),
            "upper": self.upper.tolist(),
            "rows": self.rows.long().tolist(),
            "confidence": defined(self.confidence / self.rows),
            "accuracy": defined(self.right / self.rows),
        }


def equal_width(confidence: Tensor, right: Tensor, bins: int = BINS) -> Reliability:
    """Bins (0, 1/M], (1/M, 2/M], ... with the bounds in float32, as the reference implementation has them
    (github.com/gpleiss/temperature_scaling). torchmetrics' bins are [lower, upper), and a probability of exactly 1 gets
    one of its own there.

    Args:
        confidence: [n] top probabilities; right: [n] 1 or 0 each.
        bins: M.
    """
    edges = torch.linspace(0, 1, bins + 1, device=confidence.device)
    index = width_bins(confidence, bins)
    return _binned(index, confidence, right.double(), edges[:-1], edges[1:])


def width_bins(confidence: Tensor, bins: int = BINS) -> Tensor:
    """[n] index of the bin of each; what is not a number lies in the last."""
    edges = torch.linspace(0, 1, bins + 1, device=confidence.device)
    return (torch.bucketize(confidence.float(), edges) - 1).clamp(0, bins - 1)


def equal_mass(confidence: Tensor, right: Tensor, bins: int = BINS) -> Reliability:
    """Bins with the same number of predictions, in the order of their confidence; the first ones have one more where
    the number cannot be divided. Of equal confidences each counts as right in the share in which they are, so that no
    order among them matters.

    Args:
        confidence: [n] top probabilities; right: [n] 1 or 0 each.
        bins: M; fewer where there are fewer predictions.
    """
    ordered, order = confidence.sort()
    _, group, sizes = ordered.unique_consecutive(return_inverse=True, return_counts=True)
    shared = torch.zeros(len(sizes), dtype=torch.float64, device=right.device)
    shared = shared.index_add_(0, group, right[order].double()) / sizes
    bins = min(bins, len(ordered))
    size, more = divmod(len(ordered), max(bins, 1))
    counts = torch.tensor([size + (index < more) for index in range(bins)], dtype=torch.long, device=right.device)
    index = torch.arange(bins, device=right.device).repeat_interleave(counts)
    upper = ordered[counts.cumsum(0) - 1]
    lower = torch.cat([ordered.new_zeros(min(bins, 1)), upper[:-1]])
    return _binned(index, ordered, shared[group], lower, upper)


def _binned(index: Tensor, confidence: Tensor, right: Tensor, lower: Tensor, upper: Tensor) -> Reliability:
    empty = torch.zeros(len(lower), dtype=torch.float64, device=confidence.device)
    columns = (torch.ones_like(right), confidence.double(), right)
    return Reliability(lower, upper, *(empty.index_add(0, index, column) for column in columns))
