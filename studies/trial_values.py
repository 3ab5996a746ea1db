"""What one dimension of a search may be."""

from collections.abc import Mapping
from math import prod
from typing import Any

from .study import Dimension, Tune


def listed(dimension: Dimension, default: Any) -> list[Any]:
    """The values that the study file lists, as they are or as multiples of the default; empty of a range."""
    return [*dimension.values, *(_multiple(default, factor) for factor in dimension.times)]


def _multiple(default: Any, factor: float) -> Any:
    """A whole number stays one where its multiple is whole."""
    value = default * factor
    return int(value) if isinstance(default, int) and float(value).is_integer() else value


def is_whole(dimension: Dimension, default: Any) -> bool:
    """Whether a range is one of whole numbers: the arm's own value is one, and so are both ends."""
    ends = (dimension.low, dimension.high)
    return isinstance(default, int) and not isinstance(default, bool) and all(float(e or 0).is_integer() for e in ends)


def choices(dimension: Dimension, default: Any) -> list[Any]:
    """The default first, then what the study file lists; empty of a range."""
    values = listed(dimension, default)
    return [default, *(value for value in values if value != default)] if values else []


def different_settings(tune: Tune, default: Mapping[str, Any]) -> int | None:
    """How many trials a search can have without one of them twice, the default among them; None without a limit.

    Args:
        tune: the search.
        default: configuration key -> the arm's own value.
    """
    of = choices if tune.sampler == "tpe" else listed
    sizes, holds_default = [], True
    for dimension in tune.space:
        own = default[dimension.key]
        low, high = dimension.low, dimension.high
        if low is None or high is None:
            values = of(dimension, own)
            sizes.append(len([value for place, value in enumerate(values) if value not in values[:place]]))
            holds_default &= own in values
        elif is_whole(dimension, own):
            sizes.append(int(high) - int(low) + 1)
            holds_default &= low <= own <= high
        else:
            return None
    return prod(sizes) + (not holds_default)
