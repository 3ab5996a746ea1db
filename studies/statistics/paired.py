"""Whether two arms differ, over replicates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from .interval import CONFIDENCE, NOTHING, all_equal, t_interval
from .sign_flip import smallest_p


@dataclass(frozen=True)
class Paired:
    """What the differences of one arm to another say.

    Args:
        n: pairs.
        mean: of the differences.
        sd: their standard deviation; None of one pair, 0 where all are equal.
        low: of the t interval at 95 %; None of one pair and where all are equal.
        high: likewise.
        t: mean sqrt(n) / sd; None as ``low``.
        p: two-sided; None of one pair.
        effect: d_z = mean / sd; None as ``low``.
    """

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    t: float | None
    p: float | None
    effect: float | None


def paired(differences: Sequence[float] | np.ndarray) -> Paired:
    """Student's paired t test, two-sided, of a mean difference of 0.

    Differences that are all equal (up to rounding) have no t: the spread of 0 may be that of a coarse metric. If they
    are all 0, p is 1. Otherwise p is that of the exact sign flips, 2^(1 - n), which needs no spread; there is no
    interval and no effect size.

    Args:
        differences: [n] arm less reference of the same seeds, n >= 1.
    """
    given = np.asarray(differences, dtype=float)
    n, mean = len(given), float(given.mean())
    if n == 1:
        return Paired(1, mean, None, None, None, None, None, None)
    if all_equal(given):
        return Paired(n, mean, 0.0, None, None, None, smallest_p(n) if abs(mean) > NOTHING else 1.0, None)
    interval, sd = t_interval(given, CONFIDENCE), float(given.std(ddof=1))
    t, p = t_test(given)
    return Paired(n, mean, sd, interval.low, interval.high, float(t), float(p), mean / sd)


def t_test(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """t and two-sided p of many paired comparisons, each with some spread.

    Args:
        differences: [n, ...], replicates first.
    """
    n = len(differences)
    t = differences.mean(0) * n**0.5 / differences.std(0, ddof=1)
    return t, two_sided(t, n - 1)


def two_sided(t: np.ndarray, freedom: float) -> np.ndarray:
    """P(|T| >= |t|) of Student's distribution."""
    return 2 * stdtr(freedom, -np.abs(t))
