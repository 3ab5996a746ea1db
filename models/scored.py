"""What one evaluation batch yields. Legend: N supervised positions, V classes or vocabulary."""

from dataclasses import dataclass

from torch import Tensor

from .losses import token_nll


@dataclass
class Scored:
    """Predictions at the supervised positions of one batch; never kept beyond the batch.

    Args:
        logits: [N, V].
        targets: [N].
        rows: [N] the row of the batch that a position belongs to.
        nll: [N] float32, nats.
    """

    logits: Tensor
    targets: Tensor
    rows: Tensor
    nll: Tensor

    @classmethod
    def of(cls, logits: Tensor, targets: Tensor, rows: Tensor) -> "Scored":
        return cls(logits, targets, rows, token_nll(logits, targets))
