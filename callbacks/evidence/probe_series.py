"""The losses of fixed rows over a run. Legend: T evaluations, n rows of a set."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class ProbeSet:
    """The same rows at every evaluation.

    Args:
        nll: [T, n] nats, summed over the supervised tokens of a row.
        tokens: [n] supervised tokens of each row.
        right: [T, n] share of a row's supervised tokens that were predicted right; None where nothing can be.
        groups: [n] rows of the same document share a number.
    """

    nll: Floats
    tokens: Floats
    right: Floats | None
    groups: NDArray[np.integer]

    @property
    def mean(self) -> Floats:
        """[T] nats per supervised token."""
        return self.nll.sum(1) / self.tokens.sum()

    def until(self, count: int) -> "ProbeSet":
        """The first ``count`` evaluations."""
        return replace(self, nll=self.nll[:count], right=None if self.right is None else self.right[:count])


@dataclass(frozen=True)
class ProbeSeries:
    """All evaluations of a run so far, in order.

    Args:
        steps: [T] optimizer steps taken.
        travelled: [T] sum of the learning rates of these steps.
        train: rows that are trained on; None where the data has none to look at.
        a: the half of the validation rows that selects.
        b: the other half, which confirms.
        base: ``train``, ``a``, ``b`` -> [n] nll of the same rows under the untouched base; empty where it cannot do the
            task or is lost.
        planned: evaluations of the whole run; 0 where that is not known.
    """

    steps: NDArray[np.integer]
    travelled: Floats
    train: ProbeSet | None
    a: ProbeSet
    b: ProbeSet
    base: Mapping[str, Floats] = field(default_factory=dict)
    planned: int = 0

    def __len__(self) -> int:
        return len(self.steps)

    def until(self, count: int) -> "ProbeSeries":
        """The first ``count`` evaluations."""
        return replace(
            self,
            steps=self.steps[:count],
            travelled=self.travelled[:count],
            train=None if self.train is None else self.train.until(count),
            a=self.a.until(count),
            b=self.b.until(count),
        )
