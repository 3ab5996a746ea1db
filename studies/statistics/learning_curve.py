"""How a score grows with the size of its training set, and from which size on it hardly does.

    score = a - b x^-c,  loss = a + b x^-c,  x = size / largest size

Legend: K sizes, n replicates, G exponents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from .interval import CONFIDENCE, NOTHING, Interval
from .paired import paired

FEWEST = 4
"""Sizes: three parameters fit any three points."""
EXPONENTS = np.geomspace(0.05, 5.0, 150)
"""Slower than the first is not told from a logarithm, which has no limit; faster than the last, from a step."""
STEP, GROWTH, REACH = 0.01, 1.3, 1e6
"""How an interval's ends are looked for: from 1 % of the scale on, in steps that grow, to so many times the scale."""

Parameters = tuple[float, float, float]
Fixed = Callable[["_Means", float], tuple[Parameters, Sequence[float]]]
"""The best (a, b, c) with one quantity fixed at a value, and the quantity's gradient there."""


@dataclass(frozen=True)
class NoFit:
    """Why there is no curve.

    Args:
        reason: in words.
    """

    reason: str


@dataclass(frozen=True)
class PowerLaw:
    """A fitted learning curve.

    Args:
        a: limit; an end is None where the data do not bound it.
        b: what the largest size lacks to the limit, >= 0; likewise.
        c: exponent; likewise.
        mode: ``max``: a - b x^-c; ``min``: a + b x^-c.
        sizes: [K] ascending.
        values: [n, K] behind it.
        misfit: largest distance of a size's mean to the curve.
    """

    a: Interval
    b: Interval
    c: Interval
    mode: str
    sizes: np.ndarray
    values: np.ndarray
    misfit: float

    @property
    def limit_identified(self) -> bool:
        """Whether the data exclude a curve that rises without end."""
        return None not in (self.a.low, self.a.high, self.c.low)


@dataclass(frozen=True)
class Flat:
    """From which size on a curve is flat.

    Args:
        size: with its interval; high is None where the data do not bound it.
        reference: what the curve stays within the margin of.
    """

    size: Interval
    reference: Literal["limit", "largest size"]


def fit_power_law(sizes: Sequence[float], values: Sequence[Sequence[float]], mode: str) -> PowerLaw | NoFit:
    """Least squares over the means of the sizes (a power law: Hestness et al. 2017, arXiv:1712.00409), with intervals.

    An interval holds the values of a quantity that a score test does not reject: with the quantity fixed and the rest
    fitted, the replicates' residuals along the direction in which it would move the curve have mean 0 (Student's t,
    n - 1). Replicates are whole curves, so that sizes of one seed may be correlated and nested. Nothing is resampled,
    which makes intervals of few replicates too narrow. Coverage (benchmarks/study_statistics.py): 92 to 97 % of a, c
    and heights at 3 to 10 replicates.

    Args:
        sizes: [K] rows (or tokens) of the training set, ascending.
        values: [K][n] of each size, the replicates in the same order; none missing.
        mode: ``max`` or ``min``: which way is better.
    """
    x, y = np.asarray(sizes, dtype=float), np.asarray(values, dtype=float).T
    sign = 1.0 if mode == "max" else -1.0
    if reason := _unfit(x, sign * y):
        return NoFit(reason)
    means = _Means(x / x[-1], sign * y)
    limit, lack, exponent = means.best()
    a = means.interval(limit, _height_at(np.inf), means.added)
    b = means.interval(lack, _lack, _within(lack / REACH, lack * REACH))
    c = means.interval(exponent, _exponent, _within(EXPONENTS[0], EXPONENTS[-1]))
    misfit = float(np.abs(means.mean - limit + lack * means.x**-exponent).max())
    return PowerLaw(_signed(a, sign), b, c, mode, x, y, misfit)


def predicted(fit: PowerLaw, size: float) -> Interval:
    """The curve's height at a size, with its interval by the same test."""
    means, at, sign = _means(fit), size / fit.sizes[-1], _sign(fit)
    height = sign * fit.a.value - fit.b.value * at**-fit.c.value
    return _signed(means.interval(height, _height_at(at), means.added), sign)


def flat_from(fit: PowerLaw, margin: float) -> Flat:
    """The smallest size from which on the curve stays within the margin of its limit.

    b x^-c = margin. Beyond the largest size this is an extrapolation, and its interval says how far. Where the data do
    not exclude a curve that rises without end, the limit is replaced by the curve's height at the largest size:
    b (x^-c - 1) = margin, which says how much data would have done, not that more would do nothing. Sizes below the
    smallest one measured are given as the smallest: from there on the curve is flat.

    The interval covers 94 %; 84 to 88 % where noise lets the limit be identified in a minority of studies, and 98 % to
    the largest size.

    Args:
        fit: of the curve.
        margin: > 0, in the units of the score.
    """
    means, lack, exponent = _means(fit), fit.b.value, fit.c.value
    if fit.limit_identified:
        size = (lack / margin) ** (1 / exponent)
        found = means.interval(size, _flat(margin, 0.0), _within(size / REACH, size * REACH))
    else:
        size = (1 + margin / lack) ** (-1 / exponent)
        found = means.interval(size, _flat(margin, 1.0), _within(size / REACH, 1.0))
        found = Interval(found.value, found.low, 1.0 if found.high is None else found.high, found.n)
    least, largest = fit.sizes[0], fit.sizes[-1]
    value, low, high = (
        None if end is None else max(end * largest, least) for end in (found.value, found.low or 0.0, found.high)
    )
    assert value is not None
    return Flat(Interval(value, low, high, found.n), "limit" if fit.limit_identified else "largest size")


class _Means:
    """Curves y [n, K] over x [K], larger is better, fitted by their mean."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y, self.mean = x, y, y.mean(0)
        self.powers = x ** -EXPONENTS[:, None]  # [G, K]

    def best(self) -> Parameters:
        """Over the exponents, and twice more around the best of them."""
        exponents, fit = EXPONENTS, self.with_exponent(1.0)
        for _ in range(3):
            fits = [self.with_exponent(c) for c in exponents]
            at = int(np.argmin([((self.mean - self.curve(each)) ** 2).sum() for each in fits]))
            fit, last = fits[at], len(exponents) - 1
            exponents = np.geomspace(exponents[max(at - 1, 0)], exponents[min(at + 1, last)], 30)
        return fit

    def curve(self, fit: Parameters) -> np.ndarray:
        return fit[0] - fit[1] * self.x ** -fit[2]

    def with_exponent(self, c: float) -> Parameters:
        power = self.x**-c
        apart = power - power.mean()
        lack = max(-float(apart @ self.mean / (apart @ apart)), NOTHING)
        return float(self.mean.mean() + lack * power.mean()), lack, float(c)

    def with_lacks(self, lacks: np.ndarray) -> Parameters:
        """The best with b given for each of the exponents [G]."""
        heights = self.mean + lacks[:, None] * self.powers
        at = int(np.argmin(heights.var(1)))
        return float(heights[at].mean()), float(lacks[at]), float(EXPONENTS[at])

    def through(self, x: float, height: float) -> Parameters:
        """The best of the curves through a point."""
        there = x**-EXPONENTS
        apart = there[:, None] - self.powers
        lacks = np.maximum(apart @ (self.mean - height) / (apart**2).sum(1), NOTHING)
        squares = (((self.mean - height) - lacks[:, None] * apart) ** 2).sum(1)
        at = int(np.argmin(squares))
        return float(height + lacks[at] * there[at]), float(lacks[at]), float(EXPONENTS[at])

    def added(self, value: float, by: float) -> float:
        """A height moved by so many times what the curve spans."""
        return value + by * float(np.ptp(self.mean)) if abs(by) < REACH else np.nan

    def interval(self, value: float, fixed: Fixed, moved: Callable[[float, float], float]) -> Interval:
        """The values that are not rejected, around the estimate.

        Args:
            value: the estimate.
            fixed: see there.
            moved: the value, so many times its scale up or down; NaN beyond where there is none.
        """
        low, high = (self._end(side, value, fixed, moved) for side in (-1.0, 1.0))
        return Interval(value, low, high, len(self.y))

    def _end(self, side: float, value: float, fixed: Fixed, moved: Callable[[float, float], float]) -> float | None:
        near, far = 0.0, STEP
        while not np.isnan(there := moved(value, side * far)) and self._accepts(fixed, there):
            near, far = far, far * GROWTH
        if np.isnan(there):
            return None
        for _ in range(20):
            middle = (near + far) / 2
            near, far = (middle, far) if self._accepts(fixed, moved(value, side * middle)) else (near, middle)
        return float(moved(value, side * (near + far) / 2))

    def _accepts(self, fixed: Fixed, value: float) -> bool:
        fit, gradient = fixed(self, value)
        power = self.x ** -fit[2]
        bends = np.stack([np.ones_like(power), -power, fit[1] * power * np.log(self.x)], 1)  # [K, 3]
        scale = np.sqrt((bends**2).sum(0)) + NOTHING
        moves = (bends / scale) @ np.linalg.pinv((bends / scale).T @ (bends / scale)) @ (np.asarray(gradient) / scale)
        scores = (self.y - self.curve(fit)) @ moves
        count = len(scores)
        reach = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2) * scores.std(ddof=1)) / count**0.5
        return abs(float(scores.mean())) <= reach


def _height_at(x: float) -> Fixed:
    """a - b x^-c; of infinite x the limit."""

    def fixed(means: _Means, height: float) -> tuple[Parameters, Sequence[float]]:
        fit = means.through(x, height)
        power = x ** -fit[2]
        return fit, (1.0, -power, fit[1] * power * np.log(x) if power else 0.0)

    return fixed


def _flat(margin: float, rest: float) -> Fixed:
    """x of b (x^-c - rest) = margin."""

    def fixed(means: _Means, x: float) -> tuple[Parameters, Sequence[float]]:
        fit = means.with_lacks(margin / (x**-EXPONENTS - rest))
        power = x ** -fit[2]
        return fit, (0.0, power - rest, -fit[1] * power * np.log(x))

    return fixed


def _lack(means: _Means, lack: float) -> tuple[Parameters, Sequence[float]]:
    return means.with_lacks(np.full(len(EXPONENTS), lack)), (0.0, 1.0, 0.0)


def _exponent(means: _Means, exponent: float) -> tuple[Parameters, Sequence[float]]:
    return means.with_exponent(exponent), (0.0, 0.0, 1.0)


def _within(least: float, most: float) -> Callable[[float, float], float]:
    """Up and down by a factor, between bounds."""

    def moved(value: float, by: float) -> float:
        there = value * np.exp(min(by, 100.0))
        return there if least < there < most else np.nan

    return moved


def _unfit(x: np.ndarray, y: np.ndarray) -> str:
    """Why curves [n, K], larger is better, have no power law; empty where they have one."""
    if len(x) < FEWEST:
        return f"{len(x)} sizes are too few: a curve of three parameters needs at least {FEWEST}"
    if len(y) < 2:
        return "one replicate has no spread to set the curve's intervals by"
    gain = y[:, -1] - y[:, 0]
    if gain.mean() <= NOTHING:
        return f"the score does not improve from {x[0]:g} to {x[-1]:g}"
    for at in range(len(x) - 1):
        step = paired(y[:, at + 1] - y[:, at])
        if step.mean < 0 and step.p is not None and step.p < (1 - CONFIDENCE) / (len(x) - 1):
            return f"the score falls from {x[at]:g} to {x[at + 1]:g}, beyond chance, which no power law does"
    return ""


def _means(fit: PowerLaw) -> _Means:
    return _Means(fit.sizes / fit.sizes[-1], _sign(fit) * fit.values)


def _sign(fit: PowerLaw) -> float:
    return 1.0 if fit.mode == "max" else -1.0


def _signed(interval: Interval, sign: float) -> Interval:
    """An interval of better-is-larger values in the units of the score."""
    if sign > 0:
        return interval
    low, high = (None if end is None else -end for end in (interval.high, interval.low))
    return Interval(-interval.value, low, high, interval.n)
