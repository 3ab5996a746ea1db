"""What one dimension of a search may be."""

from typing import Any

from .study import Dimension


def listed(dimension: Dimension, default: Any) -> list[Any]:
    """The values that the study file lists, as they are or as multiples of the default; empty of a range."""
    return [*dimension.values, *(default * factor for factor in dimension.times)]


def is_whole(dimension: Dimension, default: Any) -> bool:
    """Whether a range is one of whole numbers: the arm's own value is one, and so are both ends."""
    ends = (dimension.low, dimension.high)
    return isinstance(default, int) and not isinstance(default, bool) and all(float(e or 0).is_integer() for e in ends)
