"""How well the loss of a row tells whether it was trained on."""

import numpy as np
from scipy import stats

from .estimate import Estimate
from .probe_series import Floats


def membership_auc(train: Floats, validation: Floats) -> Estimate:
    """P(loss of a training row < loss of a validation row), ties counted half; 0.5 is no memorization.

    The area under the ROC curve as a Mann-Whitney statistic, with the standard error of DeLong, DeLong and
    Clarke-Pearson (Biometrics 44, 1988), computed from midranks (Sun and Xu, IEEE Signal Processing Letters 21, 2014).

    Args:
        train: [m] loss per token of each row.
        validation: [n]
    """
    m, n = len(train), len(validation)
    ranks = stats.rankdata(np.concatenate([train, validation]))
    above = (ranks[m:] - stats.rankdata(validation)) / m  # share of training rows below each validation row
    below = 1.0 - (ranks[:m] - stats.rankdata(train)) / n
    variance = float(np.var(above, ddof=1)) / n + float(np.var(below, ddof=1)) / m if min(m, n) > 1 else 0.25
    return Estimate(float(above.mean()), variance**0.5, max(min(m, n) - 1, 1), m + n)
