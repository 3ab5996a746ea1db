"""Prechelt's successive increases."""

from itertools import pairwise

from ...contracts.errors import UserError
from .criterion import Criterion
from .curve import Curve
from .judgement import Judgement


class UP(Criterion):
    """Stops once the validation error has risen in ``strips`` successive strips of k evaluations.

    The error at the end of a strip is compared with that at the end of the strip before: ``UP_s`` stops at t if
    ``UP_{s-1}`` stops at t - k and ``E(t) > E(t - k)``, and ``UP_1`` at the first end of a strip with
    ``E(t) > E(t - k)`` (Prechelt, Neural Networks 11:761-767, 1998). A rise within ``min_delta`` or the noise does not
    count. These are strips, not single evaluations: counting single rises, as some libraries do, is another rule. Only
    the order of errors counts, so any metric will do.

    Args:
        strips: Prechelt's s; his range is 2 to 8. On a flat curve of noise every second strip rises.
        k: evaluations in a strip; it takes ``k (strips + 1)`` of them until this can stop.

    Raises:
        UserError: no strip, or one without an evaluation.
    """

    def __init__(self, strips: int = 3, k: int = 5) -> None:
        if strips < 1 or k < 1:
            raise UserError(
                f"finelab.callbacks.stopping.UP: strips is {strips} and k {k}; both are at least 1: the error has to "
                "rise in so many strips of k evaluations. Prechelt's range of strips is 2 to 8, and k is 5."
            )
        self.strips, self.k = strips, k

    def judge(self, curve: Curve) -> Judgement:
        ends = range(self.k - 1, len(curve.errors), self.k)
        rises = 0
        for older, newer in pairwise(ends):
            rises = rises + 1 if curve.rises(newer, older) else 0
        at_end = len(curve.errors) % self.k == 0
        meaning = f"successive strips of {self.k} evaluations in which the error rose"
        return Judgement(at_end and rises >= self.strips, rises, self.strips, meaning)
