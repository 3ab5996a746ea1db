"""Metrics of predicted numbers."""

import torch
from scipy.stats import rankdata
from torch import Tensor
from torchmetrics import CatMetric

from ..contracts.batch import Batch
from .losses import SUM_DTYPE
from .meter import Meter, Reading
from .scored import Scored


class RegressionMeter(Meter):
    """nll, mse, mae, r2 (the coefficient of determination), and the correlations of Pearson and Spearman.

    Ranks need every value, so that predictions and targets are kept, 8 bytes a row; all else is computed from them too,
    in double precision. A correlation with something that does not vary is missing, and so is r2 of targets
    that do not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.predictions, self.targets = CatMetric("disable"), CatMetric("disable")

    def update(self, scored: Scored, batch: Batch) -> None:
        super().update(scored, batch)
        self.predictions.update(scored.logits.float().squeeze(-1))
        self.targets.update(scored.targets.float())

    def readings(self) -> dict[str, Reading]:
        p, y = (torch.atleast_1d(kept.compute()).to(SUM_DTYPE) for kept in (self.predictions, self.targets))
        mse, constant = (p - y).square().mean().item(), only_one("targets", y)
        still = constant or only_one("predictions", p)
        return {
            "nll": self.mean_nll(),
            "mse": mse,
            "mae": (p - y).abs().mean().item(),
            "r2": constant or 1 - mse / y.var(correction=0).item(),
            "pearson": still or correlation(p, y),
            "spearman": still or correlation(ranks(p), ranks(y)),
        }


def only_one(what: str, values: Tensor) -> str | None:
    """Why nothing correlates with values that are all the same."""
    first = values[0]
    return f"all {what} are {first.item():.6g}" if bool((values == first).all()) else None


def correlation(left: Tensor, right: Tensor) -> float:
    return torch.corrcoef(torch.stack([left, right]))[0, 1].item()


def ranks(values: Tensor) -> Tensor:
    """[n] float64 ranks, ties at the mean of theirs."""
    return torch.from_numpy(rankdata(values.cpu().numpy()))
