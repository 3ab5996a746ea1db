"""One probe set as a loss to be tested."""

from dataclasses import dataclass

import numpy as np

from .contrast import contrast, difference
from .estimate import Estimate
from .probe_series import Floats, ProbeSet


@dataclass(frozen=True)
class Half:
    """A loss that is better when lower, of the rows of one probe set.

    Args:
        losses: [T, n] summed over a row's tokens.
        tokens: [n]
        units: [n] what was drawn independently.
    """

    losses: Floats
    tokens: Floats
    units: np.ndarray

    @classmethod
    def of(cls, probe: ProbeSet, units: np.ndarray, metric: str) -> "Half":
        """``nll`` in nats, or ``accuracy`` as the share of tokens that are wrong."""
        if metric == "nll":
            return cls(probe.nll.astype(np.float64), probe.tokens, units)
        assert probe.right is not None
        return cls((1.0 - probe.right.astype(np.float64)) * probe.tokens, probe.tokens, units)

    @property
    def mean(self) -> Floats:
        """[T] per token."""
        return self.losses.sum(1) / self.tokens.sum()

    def rise(self, now: int, then: int) -> Estimate:
        return difference(self.losses, now, then, self.tokens, self.units)

    def at(self, evaluation: int) -> Estimate:
        """The mean at one evaluation."""
        weights = np.zeros(len(self.losses))
        weights[evaluation] = 1.0
        return self.weighted(weights)

    def weighted(self, weights: Floats) -> Estimate:
        """A contrast over the evaluations."""
        return contrast(self.losses, weights, self.tokens, self.units)

    def __add__(self, other: "Half") -> "Half":
        """Both sets as one; a unit of one is that of the other where the number is the same."""
        return Half(
            np.concatenate([self.losses, other.losses], axis=1),
            np.concatenate([self.tokens, other.tokens]),
            np.concatenate([self.units, other.units]),
        )
