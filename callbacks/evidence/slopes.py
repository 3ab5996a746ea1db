"""How fast a loss still falls, in the distance that the learning rate has let the weights travel."""

import numpy as np

from .estimate import Estimate
from .half import Half
from .probe_series import Floats

SHARE = 0.5
"""The window: the last half of the travelled distance."""


def per_doubling(half: Half, travelled: Floats) -> Estimate | None:
    """Change of the loss per token when the travelled learning rate doubles, over its last half.

    The least-squares slope of each row's loss on log2(travelled), then Student's t over the units, so that evaluations
    need not be independent of each other. Against steps a decayed learning rate would look like convergence.

    Args:
        half: losses of the rows.
        travelled: [T] sum of the learning rates up to each evaluation.

    Returns:
        None where fewer than two evaluations lie apart.
    """
    window = doubling_window(travelled)
    if window is None:
        return None
    weights = np.zeros(len(travelled))
    x = np.log2(travelled[window])
    weights[window] = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return half.weighted(weights)


def doubling_window(travelled: Floats) -> slice | None:
    """The evaluations from the last one at or before half of the distance on; at least two."""
    last, positive = len(travelled) - 1, np.flatnonzero(travelled > 0)
    if not len(positive):
        return None
    before_half = int(np.searchsorted(travelled, SHARE * travelled[last], side="right")) - 1
    start = min(max(before_half, int(positive[0])), last - 1)
    return slice(start, last + 1) if start >= 0 and 0 < travelled[start] < travelled[last] else None
