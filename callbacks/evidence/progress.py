"""Whether as much training again would still pay."""

from dataclasses import dataclass

import numpy as np

from .estimate import Estimate
from .half import Half
from .probe_series import Floats
from .slopes import per_doubling

CARRIED = 0.3
"""Less of what training rows gain arrives on other rows only where memorizing has set in."""


@dataclass(frozen=True)
class Progress:
    """How the loss of validation and training rows still moves at the end.

    Args:
        validation: change of its loss per token when the travelled learning rate doubles.
        train: the same of the train probe; None where there is none.
        gain: what validation has gained since the start, per token.
    """

    validation: Estimate
    train: Estimate | None
    gain: float

    @property
    def promised(self) -> float:
        """What as much training again would gain if the curve went on on the logarithmic scale; an upper bound for a
        curve that levels off faster."""
        return max(0.0, -self.validation.value)

    @property
    def share(self) -> float:
        """Of the gain so far, at most all of it."""
        return min(1.0, self.promised / self.gain) if self.gain > 0 else 1.0

    def still_falls(self, alpha: float) -> bool:
        """Validation and training rows both, and validation at least ``CARRIED`` times as fast as training rows."""
        if self.validation.p_below > alpha:
            return False
        own = self.train
        return own is None or (own.p_below <= alpha and self.validation.value <= CARRIED * own.value)


def progress(travelled: Floats, validation: Half, train: Half | None, start: float | None) -> Progress | None:
    """Read off the last half of the travelled distance.

    Args:
        travelled: [T] sum of the learning rates up to each evaluation.
        validation: all its rows.
        train: the train probe.
        start: loss per token before the first step; None extends the first two evaluations back in a straight line,
            which is rather too little for a curve that falls fast at first.

    Returns:
        None where fewer than two evaluations lie apart.
    """
    slope = per_doubling(validation, travelled)
    if slope is None:
        return None
    began = _extended_back(travelled, validation.mean) if start is None else start
    own = None if train is None else per_doubling(train, travelled)
    return Progress(slope, own, began - float(validation.mean[-1]))


def _extended_back(travelled: Floats, mean: Floats) -> float:
    one, other = (float(x) for x in travelled[:2])
    fall = float(mean[0] - mean[1]) * one / (other - one) if other > one else 0.0
    return float(mean[0]) + float(np.maximum(fall, 0.0))
