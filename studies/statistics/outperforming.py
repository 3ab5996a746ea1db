"""How often an arm is better, whatever by how much."""

from collections.abc import Sequence

import numpy as np

from .interval import Interval, clopper_pearson

MEANINGFUL = 0.75
"""gamma: an arm that is better less often than this is not meaningfully better."""


def outperforming(differences: Sequence[float] | np.ndarray, better: str) -> Interval:
    """P(arm is better than its reference on the same seeds), ties half, with Clopper and Pearson's interval.

    Bouthillier et al. 2021 (arXiv:2103.03098), who take a percentile bootstrap: it has no width where one arm always
    wins, which few replicates often show. Their decision: not significant if low <= 0.5; significant but not
    meaningful if high <= 0.75; else both.

    Args:
        differences: [n] arm less reference.
        better: ``max`` or ``min``: which sign of a difference is a win.
    """
    given = np.asarray(differences, dtype=float)
    wins = int((given > 0).sum() if better == "max" else (given < 0).sum())
    return clopper_pearson(wins + int((given == 0).sum()) / 2, len(given))
