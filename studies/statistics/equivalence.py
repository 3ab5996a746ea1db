"""Whether two arms are the same for all that matters."""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr

from .interval import all_equal


def tost(differences: Sequence[float] | np.ndarray, margin: float) -> float | None:
    """Two one-sided paired t tests (Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987): the larger p of the two.

    Below 0.05 the difference lies within +-margin; that is the same as the 90 % interval lying within it. Differences
    that are all equal have no t; p is then that of the one-sided exact sign flips of their distance to the margin,
    2^-n where they lie within it and 1 where they do not.

    Args:
        differences: [n] arm less reference of the same seeds.
        margin: > 0, declared before anything ran: differences below it do not matter.

    Returns:
        p; None of one pair.
    """
    given = np.asarray(differences, dtype=float)
    n, mean = len(given), float(given.mean())
    if n < 2:
        return None
    if all_equal(given):
        return 2.0**-n if abs(mean) < margin else 1.0
    error = float(given.std(ddof=1)) / n**0.5
    return float(stdtr(n - 1, (abs(mean) - margin) / error))
