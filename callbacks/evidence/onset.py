"""When a rise began."""

import numpy as np

from .half import Half

SLACK = 1.0
"""kappa of the CUSUM, in standard errors: half of a shift of two. The best was looked for, and lies too low by about
one."""


def onset(both: Half, best: int) -> int:
    """The evaluation from which on the loss stays above that of the best one, by a one-sided CUSUM.

        C_t = max(0, C_{t-1} + (x_t - x_best) / se_t - 1)

    over the evaluations after the best (Page, Biometrika 41, 1954); the rise dates from the evaluation after the last
    at which C was zero. The differences and their errors are paired by row.
    """
    last, total, began = len(both.losses) - 1, 0.0, min(best + 1, len(both.losses) - 1)
    for now in range(best + 1, last + 1):
        rise = both.rise(now, best)
        z = rise.value / rise.error if rise.error > 0 else float(np.sign(rise.value))
        total = max(0.0, total + z - SLACK)
        if total == 0.0:
            began = min(now + 1, last)
    return began
