"""p-values of many hypotheses at once. Legend: n replicates, m hypotheses."""

from collections.abc import Sequence

import numpy as np

from .interval import NOTHING
from .sign_flip import EXACT, TIE, all_flips, drawn_flips

Values = Sequence[float] | np.ndarray


def holm(p: Values) -> np.ndarray:
    """max_{j <= i} min(1, (m - j + 1) p_(j)) (Holm, Scand. J. Statist. 6, 1979): whatever the p-values' dependence.

    A planned hypothesis that could not be tested is of the family, with p = 1.

    Args:
        p: [..., m] families along the last axis.

    Returns:
        Adjusted ones in the given order.
    """
    given = np.asarray(p, dtype=float)
    order = np.argsort(given, axis=-1, kind="stable")
    factors = np.arange(given.shape[-1], 0, -1)
    stepped = np.minimum(1.0, np.take_along_axis(given, order, -1) * factors)
    return _back(np.maximum.accumulate(stepped, axis=-1), order)


def max_t(differences: np.ndarray) -> np.ndarray:
    """Adjusted p [m] of many arms against one baseline: whole seeds are flipped at once over all arms, and the largest
    |t| decides, step down (Westfall and Young, Resampling-Based Multiple Testing, 1993, algorithm 2.8).

    Uses that arms with a common baseline are correlated. The p are those of |t|, computed from |sum(d)| / sqrt(n
    sum(d^2)), which grows with it, whose divisor no flip changes and which arms without any spread have as well.
    Exact where the differences of a replicate are jointly symmetric around 0, as those of normal scores are. Scores
    whose own distribution is skewed make each difference symmetric but not all of them jointly, because they share
    the baseline: the family-wise error is then approximate (benchmarks/study_statistics.py says how much). No p is
    below 2^(1 - n).

    Args:
        differences: [n, m] of the same seeds; none missing.
    """
    given = np.asarray(differences, dtype=float)
    n = len(given)
    lengths = np.sqrt(n * (given**2).sum(0))
    scaled = np.where(lengths > n * NOTHING, given, 0.0) / np.maximum(lengths, n * NOTHING)
    observed = np.abs(scaled.sum(0))
    order = np.argsort(-observed, kind="stable")
    flips, extra = (all_flips(n), 0) if n <= EXACT else (drawn_flips(n), 1)
    hits = np.zeros(len(order))
    for part in np.array_split(flips, max(1, flips.size // 2**20)):
        flipped = np.abs(part @ scaled[:, order])
        largest = np.maximum.accumulate(flipped[:, ::-1], axis=1)[:, ::-1]  # of this hypothesis and all after it
        hits += (largest >= observed[order] - TIE).sum(0)
    return _back(np.maximum.accumulate((hits + extra) / (len(flips) + extra)), order)


def _back(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Sorted values in the order that they had before sorting."""
    found = np.empty_like(values)
    np.put_along_axis(found, order, values, -1)
    return found
