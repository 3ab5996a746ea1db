"""Metrics of predicted numbers."""

import torch
from scipy.stats import rankdata
from torch import Tensor
from torchmetrics import CatMetric

from ..contracts.batch import Batch
from .losses import SUM_DTYPE
from .meters import Meter
from .scored import Scored


class RegressionMeter(Meter):
    """nll, mse, mae, r2 (the coefficient of determination), and the correlations of Pearson and Spearman.

    Ranks need every value, so that predictions and targets are kept, 8 bytes a row; all else is computed from them too,
    in double precision. A correlation with something that does not vary, and r2 of targets that do not, are undefined
    and left out.
    """

    at_times = frozenset({"r2", "pearson", "spearman"})

    def __init__(self) -> None:
        super().__init__()
        self.predictions, self.targets = CatMetric("disable"), CatMetric("disable")

    def update(self, scored: Scored, batch: Batch) -> None:
        super().update(scored, batch)
        self.predictions.update(scored.logits.float().squeeze(-1))
        self.targets.update(scored.targets.float())

    def compute(self) -> dict[str, float]:
        p, y = (torch.atleast_1d(kept.compute()).to(SUM_DTYPE) for kept in (self.predictions, self.targets))
        errors = p - y
        found = {"nll": self.mean_nll(), "mse": errors.square().mean().item(), "mae": errors.abs().mean().item()}
        if y.min() < y.max():
            found["r2"] = 1 - found["mse"] / y.var(correction=0).item()
            if p.min() < p.max():
                found |= {"pearson": correlation(p, y), "spearman": correlation(ranks(p), ranks(y))}
        return found


def correlation(left: Tensor, right: Tensor) -> float:
    return torch.corrcoef(torch.stack([left, right]))[0, 1].item()


def ranks(values: Tensor) -> Tensor:
    """[n] float64 ranks, ties at the mean of theirs."""
    return torch.from_numpy(rankdata(values.cpu().numpy()))
