"""Prechelt's quotient of generalization loss and training progress."""

import math
from collections.abc import Sequence

from ...contracts.errors import UserError
from .criterion import Criterion
from .curve import Curve
from .gl import generalization_loss, is_worse
from .judgement import Judgement


class PQ(Criterion):
    """Stops at the end of a strip of k evaluations with ``PQ(t) = GL(t) / P_k(t) > alpha``.

    ``P_k(t) = 1000 (sum of E_tr over the strip / (k times the least E_tr of the strip) - 1)`` is the training progress
    in per mille: how much larger the training error was on average during the strip than at its least. ``GL`` is that
    of ``finelab.callbacks.stopping.GL`` (Prechelt, Neural Networks 11:761-767, 1998). A loss of generalization is
    forgiven as long as training still makes fast progress, and counts once it has come to rest. The training error is
    that of the training probe: the running loss of training has dropout, moving weights and other rows. The loss must
    also exceed X.

    Args:
        alpha: Prechelt's range is 0.5 to 3; 0.75 is the default of EarlyStopping.jl.
        k: evaluations in a strip, at least 2.

    Raises:
        UserError: alpha is not positive, or a strip is too short to show progress.
    """

    is_relative = True
    needs_train = True

    def __init__(self, alpha: float = 0.75, k: int = 5) -> None:
        if not alpha > 0:
            raise UserError(
                f"finelab.callbacks.stopping.PQ: alpha is {alpha}; it is the largest quotient that is still borne, and "
                "has to be positive. Prechelt's range is 0.5 to 3."
            )
        if k < 2:
            raise UserError(
                f"finelab.callbacks.stopping.PQ: k is {k}; the progress within a strip shows in no fewer than 2 "
                "evaluations. Prechelt takes 5."
            )
        self.alpha, self.k = alpha, k

    def judge(self, curve: Curve) -> Judgement:
        value = self._quotient(curve) if len(curve.errors) % self.k == 0 else 0.0
        meaning = "generalization loss over training progress"
        return Judgement(value > self.alpha and is_worse(curve), value, self.alpha, meaning)

    def _quotient(self, curve: Curve) -> float:
        loss, progress = generalization_loss(curve), training_progress(curve.train[-self.k :])
        if loss <= 0:
            return 0.0
        return loss / progress if progress else math.inf


def training_progress(strip: Sequence[float]) -> float:
    """P_k of a strip of training errors, in per mille; infinite where the error has come down to zero."""
    least, mean = min(strip), sum(strip) / len(strip)
    if mean == least:
        return 0.0
    return 1000 * (mean / least - 1) if least else math.inf
