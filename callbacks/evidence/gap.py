"""The generalization gap and whether it grows."""

from .estimate import Estimate, joined
from .half import Half


def gap(train: Half, validation: Half, at: int) -> Estimate:
    """Loss per token of validation less that of training rows, at one evaluation."""
    own, other = validation.at(at), train.at(at)
    return joined(own.value - other.value, own, other)


def gap_growth(train: Half, validation: Half, now: int, then: int) -> Estimate:
    """The gap at one evaluation less that at an earlier one; rows are paired with themselves (delta method)."""
    own, other = validation.rise(now, then), train.rise(now, then)
    return joined(own.value - other.value, own, other)
