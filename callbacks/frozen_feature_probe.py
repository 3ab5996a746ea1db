"""Multinomial logistic regression on frozen features: what the base knows about the task before it is tuned."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class FrozenFeatureProbe:
    """Fits softmax(W z + b) to standardised features z, all in float64, and needs no random number.

    Minimises, over n rows, ``(1/n) sum nll + (strength / 2) ||W||^2``: scikit-learn's LogisticRegression with
    ``C = 1 / (n strength)``. The strength is the one of five with the lowest validation NLL, fixed afterwards.

    Args:
        classes: number of labels.
        strengths: L2 strengths to choose from, tried from the strongest, each started at the solution before.
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
        features = features.double()
        self.mean = features.mean(0)
        # A feature that never varies tells nothing; a scale of one keeps it at zero.
        deviation = features.std(0, correction=0)
        self.scale = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        weights = torch.zeros(self.classes, features.shape[1] + 1, dtype=torch.float64, device=features.device)
        lowest = float("inf")
        for strength in self.strengths if validation else [self.strength]:
            weights = self._minimise((features - self.mean) / self.scale, labels, strength, weights)
            nll = F.cross_entropy(self._logits(validation[0], weights), validation[1]).item() if validation else 0.0
            if nll < lowest:
                lowest, self.strength, self.weights = nll, strength, weights

    def logits(self, features: Tensor) -> Tensor:
        """[B, H] features to [B, classes] float64 logits."""
        return self._logits(features, self.weights)

    def _logits(self, features: Tensor, weights: Tensor) -> Tensor:
        standardised = (features.double() - self.mean) / self.scale
        return standardised @ weights[:, :-1].T + weights[:, -1]

    def _minimise(self, standardised: Tensor, labels: Tensor, strength: float, start: Tensor) -> Tensor:
        weights = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [weights], max_iter=300, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            logits = standardised @ weights[:, :-1].T + weights[:, -1]
            loss = F.cross_entropy(logits, labels) + strength / 2 * weights[:, :-1].square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
        return weights.detach()
