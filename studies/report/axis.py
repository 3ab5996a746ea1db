"""Scales of a figure."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

from .drawing import Drawing

STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Scale:
    """Values on a stretch of pixels.

    Args:
        low: value at ``start``.
        high: value at ``end``.
        start: pixel.
        end: pixel.
        log: whether equal ratios take equal room.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """About ``count`` round values."""
        return _decades(self.low, self.high, count) if self.log else _round(self.low, self.high, count)


def scale_of(
    values: Iterable[float], start: float, end: float, log: bool = False, air: float = 0.05, whole: bool = False
) -> Scale:
    """One that shows all of them.

    Args:
        values: those that are not finite are left out.
        start: pixel of the least.
        end: pixel of the largest.
        log: see ``Scale``; all values are positive.
        air: share of the stretch that is left free at both ends.
        whole: whether 0 is shown as well.
    """
    found = [v for v in values if math.isfinite(v)] + ([0.0] if whole else [])
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    if log:
        low, high = math.log10(low), math.log10(high)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = 0.5 if log else (abs(low) or 1.0) * 0.1
        low, high = low - room, high + room
    low, high = low - air * (high - low), high + air * (high - low)
    return Scale(10**low, 10**high, start, end, True) if log else Scale(low, high, start, end)


def tick_text(value: float, ticks: list[float]) -> str:
    """With as many digits as tell the ticks apart."""
    if abs(value) >= 1e4 or 0 < abs(value) < 1e-3:
        for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size:
                return f"{value / size:.4g}{letter}".replace("-", "−")
        return f"{value:.3g}".replace("e-0", "e-").replace("-", "−")
    gaps = [b - a for a, b in itertools.pairwise(ticks) if b > a]
    step = min(gaps, default=abs(value) or 1.0)
    digits = next((d for d in range(7) if abs(round(step, d) - step) < 1e-6 * step), 6)
    return f"{value:.{digits}f}".replace("-", "−")


def log_tick_text(value: float) -> str:
    return tick_text(value, [value, 2 * value]) if value < 1e-3 or value >= 1e4 else f"{value:g}"


def grid_down(drawing: Drawing, scale: Scale, top: float, bottom: float, count: int = 5, size: float = 11.0) -> None:
    """Vertical lines at the ticks of a horizontal scale, with their values below."""
    ticks = scale.ticks(count)
    for tick in ticks:
        x = scale.at(tick)
        drawing.line([(x, top), (x, bottom)], "line")
        text = log_tick_text(tick) if scale.log else tick_text(tick, ticks)
        drawing.text(x, bottom + 10, text, anchor="middle", ink="dim", size=size)


def grid_across(drawing: Drawing, scale: Scale, left: float, right: float, count: int = 4, size: float = 11.0) -> None:
    """Horizontal lines at the ticks of a vertical scale, with their values on the left."""
    ticks = scale.ticks(count)
    for tick in ticks:
        y = scale.at(tick)
        drawing.line([(left, y), (right, y)], "line")
        text = log_tick_text(tick) if scale.log else tick_text(tick, ticks)
        drawing.text(left - 5, y, text, anchor="end", ink="dim", size=size)


def _round(low: float, high: float, count: int) -> list[float]:
    rough = (high - low) / max(1, count)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(s * size for s in STEPS if s * size >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float, count: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = max(1, round((last - first) / count))
    for parts in ((1,), (1, 3), (1, 2, 5)):
        found = [p * 10.0**e for e in range(first, last + 1, stride) for p in parts]
        found = [v for v in found if low <= v <= high]
        if len(found) >= min(3, count):
            return found
    return found
