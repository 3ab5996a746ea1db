"""How the report writes numbers: as many digits as their intervals allow."""

import math
from collections.abc import Iterable
from statistics import median

from ...contracts.figures import duration
from ..analysis.analysis import ArmRow, Estimate, Score

MISSING = "–"
MOST_DIGITS = 6
TWO_DIGITS_BELOW = 3.55
SMALLEST_P = 0.001
SIZES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def decimals(estimates: Iterable[Estimate]) -> int:
    """Digits behind the point that leave two significant ones of the usual half interval, one where it begins with 4
    or more (the rule of the Particle Data Group)."""
    found = [e for e in estimates if math.isfinite(e.value)]
    halves = [(e.high - e.low) / 2 for e in found if e.low is not None and e.high is not None]
    usual = [half for half in halves if half > 0 and math.isfinite(half)]
    like = median(usual) if usual else max((abs(e.value) for e in found), default=1.0) / 100
    if like <= 0:
        return 3
    place = math.floor(math.log10(like))
    return min(MOST_DIGITS, max(0, (1 if like / 10.0**place < TWO_DIGITS_BELOW else 0) - place))


def plain(value: float | None, digits: int) -> str:
    return MISSING if value is None else f"{value:,.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int) -> str:
    return MISSING if value is None else f"{value:+,.{digits}f}".replace("-", "−")


def interval(estimate: Estimate | None, digits: int) -> str:
    """``+0.021 [+0.008, +0.034]``."""
    if estimate is None:
        return MISSING
    if estimate.low is None or estimate.high is None:
        return signed(estimate.value, digits)
    return f"{signed(estimate.value, digits)} [{signed(estimate.low, digits)}, {signed(estimate.high, digits)}]"


def spread(estimate: Estimate | None, digits: int) -> str:
    """``0.812 ± 0.012`` where the interval is symmetric, as that of a mean is."""
    if estimate is None:
        return MISSING
    value, low, high = estimate.value, estimate.low, estimate.high
    if low is None or high is None or not math.isfinite(high - low):
        return plain(value, digits)
    if math.isclose(high - value, value - low, rel_tol=0.01, abs_tol=10.0**-digits):
        return f"{plain(value, digits)} ± {plain((high - low) / 2, digits)}"
    return f"{plain(value, digits)} [{plain(low, digits)}, {plain(high, digits)}]"


def probability(p: float | None) -> str:
    if p is None:
        return MISSING
    return f"<{SMALLEST_P}" if p < SMALLEST_P else f"{p:.3f}"


def amount(key: str, value: float) -> str:
    """A number of the metric ``key`` by itself: seconds as a duration, bytes and parameters short."""
    if not math.isfinite(value):
        return str(value)
    if key.endswith("seconds") and value >= 0:
        return duration(value)
    if key.endswith("bytes"):
        return _short(value, "B")
    if key.startswith("parameters/") or abs(value) >= 1e5:
        return _short(value, "")
    return plain(value, decimals([Estimate(value, None, None, 1)]))


def shown(score: Score, row: ArmRow, digits: int) -> str:
    """A score's cell of the table: with its interval, or by itself where it is a cost."""
    found = row.scores.get(score.key)
    if found is None:
        return MISSING
    return amount(score.key, found.value) if is_amount(score.key) else spread(found, digits)


def is_amount(key: str) -> bool:
    return key.startswith(("cost/", "parameters/"))


def _short(value: float, unit: str) -> str:
    for size, letter in SIZES:
        if abs(value) >= size:
            return f"{_three(value / size)} {letter}{unit}"
    return f"{value:.3g} {unit}".strip()


def _three(value: float) -> str:
    """Three significant digits, noughts among them."""
    return f"{value:#.3g}".removesuffix(".")
