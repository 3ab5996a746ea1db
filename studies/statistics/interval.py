"""A number with an interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, stdtrit

CONFIDENCE = 0.95
ROUNDING = 1e-5
"""Values that differ by less than this share of the largest are equal: metrics may come in single precision."""
NOTHING = 1e-12
"""A difference of scores below this is that of adding in another order."""


@dataclass(frozen=True)
class Interval:
    """A number with an interval.

    Args:
        value: the estimate.
        low: None where there is no interval.
        high: likewise.
        n: values behind it.
    """

    value: float
    low: float | None
    high: float | None
    n: int


def t_interval(values: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Mean with Student's interval, mean +- t_{(1 + confidence) / 2, n - 1} s / sqrt(n).

    No interval of one value, and none of values that are all equal: their spread of 0 does not say that the next one
    would be the same.

    Args:
        values: [n] drawn independently, n >= 1. Covers at every n where they are normal.
        confidence: share of studies whose interval holds the true mean.
    """
    given = np.asarray(values, dtype=float)
    mean, n = float(given.mean()), len(given)
    if all_equal(given):
        return Interval(mean, None, None, n)
    half = float(stdtrit(n - 1, (1 + confidence) / 2) * given.std(ddof=1)) / n**0.5
    return Interval(mean, mean - half, mean + half, n)


def clopper_pearson(hits: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """A share with its exact interval (Clopper and Pearson, Biometrika 26, 1934).

        low = Beta^-1(alpha / 2; hits, n - hits + 1),  high = Beta^-1(1 - alpha / 2; hits + 1, n - hits)

    Args:
        hits: 0 to n; halves are allowed (``outperforming``).
        n: trials, n >= 1.
        confidence: at least this share of studies has the true share in the interval.
    """
    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return Interval(hits / n, low, high, n)


def all_equal(values: np.ndarray) -> bool:
    """Whether values [n] differ by no more than rounding."""
    return float(np.ptp(values)) <= max(ROUNDING * float(np.abs(values).max()), NOTHING)
