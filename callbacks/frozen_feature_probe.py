"""Multinomial logistic regression on frozen features: what the base knows about the task before it is tuned."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class FrozenFeatureProbe:
    """Fits softmax(W z + b) to standardised features z, all in float64, and needs no random number.

    Works on the CPU, whatever the features are on: Apple's MPS has no float64.

    Minimises, over n rows, ``(1/n) sum nll + (strength / 2) ||W||^2``: scikit-learn's LogisticRegression with
    ``C = 1 / (n strength)``. Strengths are tried from the strongest on, until the validation NLL rises; the lowest wins
    and stays fixed.

    Features of a pretrained encoder are strongly correlated, on which L-BFGS takes thousands of steps. It therefore
    works in the basis of their principal axes (a rotation leaves the penalty alone), each scaled by the root of its
    curvature: the same minimum, in tens of steps.

    Args:
        classes: number of labels.
        strengths: L2 strengths to choose from.
    """

    def __init__(self, classes: int, strengths: Sequence[float] = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)) -> None:
        self.classes = classes
        self.strengths = sorted(strengths, reverse=True)
        self.strength = self.strengths[len(self.strengths) // 2]

    def fit(self, features: Tensor, labels: Tensor, validation: tuple[Tensor, Tensor] | None) -> None:
        """Fit.

        Args:
            features: [n, H].
            labels: [n] class indices.
            validation: the same for the rows that choose the strength; None takes the middle strength.
        """
        features, labels = features.cpu().double(), labels.cpu()
        validation = (validation[0].cpu(), validation[1].cpu()) if validation else None
        self.mean = features.mean(0)
        # A feature that never varies tells nothing; a scale of one keeps it at zero.
        deviation = features.std(0, correction=0)
        self.scale = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        standardised = (features - self.mean) / self.scale
        variances, self.axes = torch.linalg.eigh(standardised.T @ standardised / len(standardised))
        rotated = standardised @ self.axes
        weights = torch.zeros(self.classes, features.shape[1] + 1, dtype=torch.float64)
        lowest = float("inf")
        for strength in self.strengths if validation else [self.strength]:
            weights = self._minimise(rotated, labels, strength, weights, variances.clamp(min=0))
            nll = F.cross_entropy(self._logits(validation[0], weights), validation[1]).item() if validation else 0.0
            if nll >= lowest:
                break
            lowest, self.strength, self.weights = nll, strength, weights

    def logits(self, features: Tensor) -> Tensor:
        """[B, H] features on any device to [B, classes] float64 logits on the CPU."""
        return self._logits(features.cpu(), self.weights)

    def _logits(self, features: Tensor, weights: Tensor) -> Tensor:
        rotated = (features.double() - self.mean) / self.scale @ self.axes
        return rotated @ weights[:, :-1].T + weights[:, -1]

    def _minimise(self, rotated: Tensor, labels: Tensor, strength: float, start: Tensor, variances: Tensor) -> Tensor:
        """[classes, H + 1] weights and bias in the rotated basis."""
        # The curvature of the softmax is p (1 - p); its mean over classes stands in for it.
        curvature = variances * (self.classes - 1) / self.classes**2 + strength
        unit = torch.cat([curvature.rsqrt(), curvature.new_ones(1)])
        inputs = rotated * unit[:-1]
        scaled = (start / unit).requires_grad_()
        optimizer = torch.optim.LBFGS(
            [scaled], max_iter=300, tolerance_grad=1e-5, tolerance_change=1e-10, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(inputs @ scaled[:, :-1].T + scaled[:, -1], labels)
            loss = loss + strength / 2 * (scaled * unit)[:, :-1].square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
        return scaled.detach() * unit
