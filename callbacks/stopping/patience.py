"""Stopping after some evaluations without an improvement."""

import math

from ...contracts.errors import UserError
from .criterion import Criterion
from .curve import Curve
from .judgement import Judgement


class Patience(Criterion):
    """Stops once ``patience`` evaluations in succession have not improved on the best before them.

    Without knowledge of the noise, an improvement is one by more than ``min_delta`` over the last that was one, so that
    small gains add up. On a flat curve of white noise half of all runs are stopped after 3, 4, 6, 9 and 17 evaluations
    with a patience of 1, 2, 3, 5 and 10: a patience of 3 or less is close to a coin flip where the noise is larger than
    what an interval between evaluations gains.

    Where the noise is known (``min_delta: auto``), an evaluation counts only if it is worse than the best by more than
    the noise; one that cannot be told from the best starts the count anew. A larger ``min_delta`` would do the
    opposite: it stops sooner, above all where an error still falls slowly.

    Args:
        patience: evaluations; Lightning's default.

    Raises:
        UserError: patience is negative.
    """

    def __init__(self, patience: int = 3) -> None:
        if patience < 0:
            raise UserError(
                f"finelab.callbacks.EarlyStopping: patience is {patience}; it counts evaluations without an "
                "improvement, and is at least 0 (stop at the first of them)."
            )
        self.patience = patience

    def judge(self, curve: Curve) -> Judgement:
        best, waited = -1, 0
        for index, error in enumerate(curve.errors):
            is_defined = math.isfinite(error)
            if is_defined and (best < 0 or curve.falls(index, best)):
                best, waited = index, 0
            elif is_defined and curve.noise is not None and not curve.rises(index, best):
                waited = 0
            else:
                waited += 1
        meaning = "evaluations without an improvement"
        if curve.noise is not None:
            meaning = "evaluations in succession that were worse than the best by more than the noise"
        return Judgement(0 < waited >= self.patience, waited, self.patience, meaning)
