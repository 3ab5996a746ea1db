"""The evaluations of a run so far, as a stopping criterion sees them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """T evaluations in their order.

    Args:
        errors: [T] validation errors, less is better; NaN where the metric is not defined.
        train: [T] errors of the same kind on the training probe, or empty.
        min_delta: smallest change that counts, in the unit of the errors.
        noise: how far two evaluations, by index, may lie apart by chance, in the unit of the errors; None where that is
            not known. Where it is, a rise within it counts for nothing.
    """

    errors: Sequence[float]
    train: Sequence[float] = ()
    min_delta: float = 0.0
    noise: Callable[[int, int], float] | None = None

    def best(self) -> int | None:
        """Index of the least error, of equal ones the first; None while none is finite."""
        finite = [index for index, error in enumerate(self.errors) if math.isfinite(error)]
        return min(finite, key=self.errors.__getitem__, default=None)

    def falls(self, newer: int, older: int) -> bool:
        """Whether the error has shrunk by more than ``min_delta``."""
        return self.errors[newer] < self.errors[older] - self.min_delta

    def rises(self, newer: int, older: int) -> bool:
        """Whether the error has grown by more than ``min_delta`` and the noise."""
        growth = self.errors[newer] - self.errors[older]
        if not growth > self.min_delta:
            return False
        return self.noise is None or growth > self.noise(newer, older)
