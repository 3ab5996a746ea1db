"""Almost stochastic order: how much of one arm's distribution lies below the other's."""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

FEWEST = 5
"""Runs of each arm below which the bound is not given: at 3 it errs in 9 % of null studies."""
DECIDES = 0.2
"""tau: an arm is better if the bound is below it. The loosest, 0.5, errs in 18 to 22 % of null studies."""
STEP = 0.005
BOOTSTRAPS = 1000


def aso(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    comparisons: int = 1,
    alpha: float = 0.05,
    seed: int = 0,
) -> float | None:
    """eps_min: upper bound of how far a violates being stochastically larger than b; a is better if it is below 0.2.

        eps = int_{t: F^-1 < G^-1} (F^-1 - G^-1)^2 dt / int_0^1 (F^-1 - G^-1)^2 dt
        eps_min = eps - sqrt((n + m) / (n m)) sd Phi^-1(alpha / comparisons)

    with F^-1 of a, G^-1 of b and sd the bootstrap's standard deviation of sqrt(n m / (n + m)) (eps* - eps); Dror et al.
    (ACL 2019); unpaired. The correction for several comparisons is Bonferroni's, alpha / k: that of deepsig 1.2.8
    grows weaker with k. Follows its formulas, not its code.

    Args:
        a: [n] larger is better.
        b: [m]
        comparisons: made in the same family.
        alpha: one-sided.
        seed: of the bootstrap.

    Returns:
        The bound; None below 5 runs of either, where it errs too often.
    """
    one, two = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    n, m = len(one), len(two)
    if min(n, m) < FEWEST:
        return None
    generator = np.random.default_rng(seed)
    again = violation(_resampled(one, generator), _resampled(two, generator))
    eps = float(violation(one[None], two[None])[0])
    sd = float(again.std(ddof=1))  # sqrt(n m / (n + m)) of sd and its inverse cancel
    return eps - sd * float(ndtri(alpha / comparisons))


def violation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """eps of each row of a [R, n] and b [R, m]; 0.5 where both are the same distribution."""
    levels = np.arange(STEP / 2, 1, STEP)
    gaps = _quantiles(a, levels) - _quantiles(b, levels)
    below, total = (np.minimum(gaps, 0.0) ** 2).sum(1), (gaps**2).sum(1)
    return np.where(total > 0, below / np.where(total > 0, total, 1.0), 0.5)


def _quantiles(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """inf {x: F(x) >= t} of each row."""
    count = values.shape[1]
    at = np.clip(np.ceil(levels * count - 1e-9).astype(int) - 1, 0, count - 1)
    return np.sort(values, axis=1)[:, at]


def _resampled(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return values[generator.integers(0, len(values), (BOOTSTRAPS, len(values)))]
