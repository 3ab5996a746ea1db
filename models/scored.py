"""What one evaluation batch yields. Legend: N supervised positions, V classes or vocabulary."""

from dataclasses import dataclass

from torch import Tensor

from .likelihoods import Categorical
from .regularizers.regularizer import Likelihood


@dataclass
class Scored:
    """Predictions at the supervised positions of one batch; never kept beyond the batch.

    Args:
        logits: [N, V].
        targets: [N]; [N, C] for a multi-label target.
        rows: [N] the row of the batch that a position belongs to.
        nll: [N] float32, nats.
    """

    logits: Tensor
    targets: Tensor
    rows: Tensor
    nll: Tensor

    @classmethod
    def of(
        cls,
        logits: Tensor,
        targets: Tensor,
        rows: Tensor,
        likelihood: Likelihood = Categorical(),  # noqa: B008 - stateless
    ) -> "Scored":
        return cls(logits, targets, rows, likelihood.nll(logits, targets))
