"""Prechelt's generalization loss."""

import math

from ...contracts.errors import UserError
from .criterion import Criterion
from .curve import Curve
from .judgement import Judgement


class GL(Criterion):
    """Stops at the first evaluation t with ``GL(t) = 100 (E(t) / E_opt(t) - 1) > alpha``.

    ``E`` is the validation error and ``E_opt(t)`` the least so far (Prechelt, "Early Stopping - But When?", Neural
    Networks 11:761-767, 1998). A loss within ``min_delta`` or the noise does not count.

    It is relative: the NLL of a language model is 1 to 2 nats per token, so that 2% are 0.02 to 0.04 nats, often less
    than the noise of an evaluation, while 2% of a classifier's last 0.1 nats are nothing. A single bad evaluation stops
    the run. Where the least error is zero, which nothing can improve on, any loss is infinite.

    Args:
        alpha: percent. Prechelt's range is 1 to 5; 2 is the default of EarlyStopping.jl.

    Raises:
        UserError: alpha is not positive.
    """

    is_relative = True

    def __init__(self, alpha: float = 2.0) -> None:
        if not alpha > 0:
            raise UserError(
                f"finelab.callbacks.stopping.GL: alpha is {alpha}; it is the loss in percent that is still borne, and "
                "has to be positive. Prechelt's range is 1 to 5."
            )
        self.alpha = alpha

    def judge(self, curve: Curve) -> Judgement:
        value = generalization_loss(curve)
        return Judgement(value > self.alpha and is_worse(curve), value, self.alpha, "percent above the least error")


def generalization_loss(curve: Curve) -> float:
    """GL of the newest evaluation, in percent; 0 while there is no finite error."""
    best = curve.best()
    if best is None:
        return 0.0
    error, least = curve.errors[-1], curve.errors[best]
    if least == 0:
        return math.inf if error > 0 else 0.0
    return 100 * (error / least - 1)


def is_worse(curve: Curve) -> bool:
    """Whether the newest evaluation is worse than the best, beyond ``min_delta`` and the noise."""
    best = curve.best()
    return best is not None and curve.rises(len(curve.errors) - 1, best)
