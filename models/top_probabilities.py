"""Whether the probability of what is predicted says how often that is right."""

from typing import Any

from torch import Tensor, nn
from torchmetrics import CatMetric

from .reliability import equal_mass, equal_width


class TopProbabilities(nn.Module):
    """Keeps the probability of each prediction and whether it was right, 8 bytes together."""

    def __init__(self) -> None:
        super().__init__()
        self.confidence, self.right = CatMetric("disable"), CatMetric("disable")

    def update(self, confidence: Tensor, right: Tensor) -> None:
        """confidence [N] float32, right [N] bool."""
        self.confidence.update(confidence)
        self.right.update(right)

    def compute(self) -> dict[str, float]:
        """ECE with bins of equal width and of equal mass, and mean confidence minus accuracy."""
        confidence, right = self.kept()
        return {
            "ece": equal_width(confidence, right).error(),
            "ece_equal_mass": equal_mass(confidence, right).error(),
            "confidence_minus_accuracy": (confidence.double().mean() - right.double().mean()).item(),
        }

    def bins(self) -> dict[str, Any]:
        """The bins of equal width, as a table."""
        return equal_width(*self.kept()).table()

    def kept(self) -> tuple[Tensor, Tensor]:
        """[n] each, of all ranks."""
        return self.confidence.compute().cpu().reshape(-1), self.right.compute().cpu().reshape(-1)
