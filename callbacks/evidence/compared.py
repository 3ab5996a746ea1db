"""The last weights against something that they have to beat."""

from dataclasses import dataclass

from .estimate import Estimate


@dataclass(frozen=True)
class Compared:
    """Losses per token of the last weights less those of something else on the same rows.

    Args:
        name: of what they are compared with.
        validation: of all validation rows.
        train: of the train probe; None where there is none.
    """

    name: str
    validation: Estimate
    train: Estimate | None

    def stays_with_train(self, alpha: float, worth: float) -> bool:
        """The training rows gain what is worth mentioning, and others less than half of that."""
        own = self.train
        if own is None or own.p_below > alpha or -own.value <= worth:
            return False
        return 2 * self.validation.value > own.value
