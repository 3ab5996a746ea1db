"""The protocol of stopping criteria."""

from abc import ABC, abstractmethod
from typing import ClassVar

from .curve import Curve
from .judgement import Judgement


class Criterion(ABC):
    """A pure function of the evaluations so far, so that a resumed run decides as one that was never stopped."""

    is_relative: ClassVar[bool] = False
    """Divides errors by errors: they must not be negative, and zero must be the best there can be."""

    needs_train: ClassVar[bool] = False
    """Needs the errors of the training probe."""

    @abstractmethod
    def judge(self, curve: Curve) -> Judgement:
        """After the newest evaluation, of at least one."""
