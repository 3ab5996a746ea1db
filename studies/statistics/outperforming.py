"""How often an arm is better, whatever by how much."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

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


def needed_for_outperforming(gamma: float = MEANINGFUL, alpha: float = 0.05, beta: float = 0.05) -> int:
    """Replicates for P(better) = gamma to be told from 0.5 (Noether, J. Am. Stat. Assoc. 82, 1987).

    n >= ((z_{1 - alpha} - z_beta) / (1/2 - gamma))^2 / 6
    """
    return math.ceil((float(ndtri(1 - alpha) - ndtri(beta)) / (0.5 - gamma)) ** 2 / 6)
