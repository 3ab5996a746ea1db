"""What so many replicates can show: the paired t test, two-sided, of normal differences."""

from scipy.special import ncfdtr, stdtrit

MOST = 100_000
"""Replicates beyond which none is named."""
PRECISION = 1e-9


def power(effect: float, n: int, alpha: float = 0.05) -> float:
    """P(p < alpha) where the true mean is ``effect`` standard deviations of the differences.

    P(|T| > t_{1 - alpha / 2, n - 1}) of a noncentral T around effect sqrt(n), as the noncentral F that its square is.

    Args:
        effect: d_z, either sign.
        n: replicates; one alone tests nothing and has power 0.
        alpha: two-sided level. Under a correction for m comparisons, alpha / m is a lower bound of what each has.
    """
    return _rejected(effect, n, alpha)


def detectable_effect(n: int, power: float = 0.8, alpha: float = 0.05) -> float | None:
    """The smallest d_z that n replicates show with this power; None of one replicate."""
    if n < 2:
        return None
    low, high = 0.0, 1.0
    while _rejected(high, n, alpha) < power:
        low, high = high, high * 2
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _rejected(middle, n, alpha) >= power else (middle, high)
    return high


def needed_replicates(effect: float, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """The fewest replicates that show this d_z with this power; None above 100,000."""
    low, high = 1, 2
    while _rejected(effect, high, alpha) < power:
        if high >= MOST:
            return None
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _rejected(effect, middle, alpha) >= power else (middle, high)
    return high


def _rejected(effect: float, n: int, alpha: float) -> float:
    if n < 2:
        return 0.0
    return 1.0 - float(ncfdtr(1, n - 1, n * effect**2, stdtrit(n - 1, 1 - alpha / 2) ** 2))
