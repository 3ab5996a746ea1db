"""A run that stopped being made of numbers."""

from ..contracts.errors import UserError


class NonFiniteError(UserError):
    """A loss, a gradient or a final metric is no number. Raised before the update, so that the weights are still good,
    and by every rank alike."""
