"""How well the loss of a row tells whether it was trained on."""

import numpy as np
from scipy import stats

from .contrast import ratio
from .estimate import Estimate, joined
from .probe_series import Floats


def membership_auc(
    train: Floats,
    validation: Floats,
    train_units: np.ndarray | None = None,
    validation_units: np.ndarray | None = None,
) -> Estimate:
    """P(loss of a training row < loss of a validation row), ties counted half; 0.5 is no memorization.

    The area under the ROC curve as a Mann-Whitney statistic, with the standard error of DeLong, DeLong and
    Clarke-Pearson (Biometrics 44, 1988), computed from midranks (Sun and Xu, IEEE Signal Processing Letters 21, 2014).
    Placements of one document are summed first (Obuchowski, Biometrics 53, 1997): of rows that resemble each other
    DeLong's interval at 95 % misses about every second time. Documents of unequal size are left out one at a time
    (``ratio``).

    Args:
        train: [m] loss per token of each row.
        validation: [n]
        train_units: [m] rows of the same document share a number; None for rows that stand for themselves.
        validation_units: [n]
    """
    m, n = len(train), len(validation)
    ranks = stats.rankdata(np.concatenate([train, validation]))
    above = (ranks[m:] - stats.rankdata(validation)) / m  # share of training rows below each validation row
    below = 1.0 - (ranks[:m] - stats.rankdata(train)) / n
    one = ratio(above, np.ones(n), np.arange(n) if validation_units is None else validation_units)
    other = ratio(below, np.ones(m), np.arange(m) if train_units is None else train_units)
    return joined(one.value, one, other)
