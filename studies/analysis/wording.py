"""Numbers as sentences show them: never rounded across what they are compared with."""

import math
from collections.abc import Sequence

from .analysis import Estimate

LEVEL = 0.05
MOST_DECIMALS = 8


def decimals(*values: float) -> int:
    """Two significant digits of the smallest that is not 0."""
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    return min(MOST_DECIMALS, max(0, 1 - math.floor(math.log10(min(sizes))))) if sizes else 0


def amount(value: float, places: int) -> str:
    return f"{value:,.{places}f}"


def plain(value: float) -> str:
    """A number that stands alone, with three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def interval(estimate: Estimate, sign: float = 1.0) -> str:
    """``0.0120 [0.0040, 0.0200]``: with digits enough that a bound that is not 0 does not look like 0.

    Args:
        estimate: to be shown.
        sign: -1 turns it around.
    """
    value = sign * estimate.value
    if estimate.low is None or estimate.high is None:
        return amount(value, decimals(value))
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    places = max(decimals((high - low) / 2), min(decimals(low, high), decimals((high - low) / 2) + 2))
    return f"{amount(value, places)} [{amount(low, places)}, {amount(high, places)}]"


def p_value(p: float, name: str = "p") -> str:
    """``p = 0.031``; never rounded across 0.05."""
    if p < 0.001:
        return f"{name} < 0.001"
    for digits in range(2, 17):
        text = f"{p:.{digits}g}"
        if (float(text) < LEVEL) == (p < LEVEL):
            return f"{name} = {text}"
    return f"{name} = {p!r}"


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """``1 seed``, ``5 seeds``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
