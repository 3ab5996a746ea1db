"""What a target's logits say about its label. Legend: N supervised positions, V classes, C independent labels."""

import math

from torch import Tensor
from torch.nn import functional as F

from ..contracts.errors import UserError
from .losses import directed_kl, symmetric_kl, token_nll, uniform_nll

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Categorical:
    """One of V classes: softmax of the logits."""

    def nll(self, logits: Tensor, targets: Tensor) -> Tensor:
        """logits [N, V], targets [N] class indices -> [N] float32, nats."""
        return token_nll(logits, targets)

    def divergence(self, logits: Tensor, others: Tensor) -> Tensor:
        """[N, V] twice -> [N] float32, nats."""
        return symmetric_kl(logits, others)

    def kl(self, logits: Tensor, others: Tensor) -> Tensor:
        """[N, V] twice -> [N] float32, nats."""
        return directed_kl(logits, others)

    def uniform_nll(self, logits: Tensor) -> Tensor:
        """[N, V] -> [N] float32, nats; classes that a row has not are none."""
        return uniform_nll(logits)


class Bernoulli:
    """C labels that each hold or not, independent given the text: a sigmoid a logit, summed over the labels."""

    def nll(self, logits: Tensor, targets: Tensor) -> Tensor:
        """logits [N, C], targets [N, C] of 0 and 1 -> [N] float32: nats of all C answers of a row together."""
        return F.binary_cross_entropy_with_logits(logits.float(), targets.float(), reduction="none").sum(-1)

    def divergence(self, logits: Tensor, others: Tensor) -> Tensor:
        """[N, C] twice -> [N] float32, nats: per label (p - q) (logit p - logit q) / 2."""
        left, right = logits.float(), others.float()
        return 0.5 * ((left.sigmoid() - right.sigmoid()) * (left - right)).sum(-1)

    def kl(self, logits: Tensor, others: Tensor) -> Tensor:
        """[N, C] twice -> [N] float32, nats: p (logit p - logit q) + log(1 - p) - log(1 - q), over all labels."""
        left, right = logits.float(), others.float()
        return (left.sigmoid() * (left - right) + F.logsigmoid(-left) - F.logsigmoid(-right)).sum(-1)

    def uniform_nll(self, logits: Tensor) -> Tensor:
        """[N, C] -> [N] float32, nats: every label is as likely to hold as not."""
        values = logits.float()
        return -0.5 * (F.logsigmoid(values) + F.logsigmoid(-values)).sum(-1)


class Gaussian:
    """A number with a normal error of variance one, in the unit that the model is trained in."""

    def nll(self, logits: Tensor, targets: Tensor) -> Tensor:
        """logits [N, 1] means, targets [N] -> [N] float32: half the squared error, and half of log 2 pi."""
        return 0.5 * (logits.float().squeeze(-1) - targets.float()).square() + HALF_LOG_2PI

    def divergence(self, logits: Tensor, others: Tensor) -> Tensor:
        """[N, 1] twice -> [N] float32, nats: half the squared distance of the means, the same in both directions."""
        return 0.5 * (logits.float() - others.float()).square().squeeze(-1)

    def kl(self, logits: Tensor, others: Tensor) -> Tensor:
        """[N, 1] twice -> [N] float32, nats; both directions are the same."""
        return self.divergence(logits, others)

    def uniform_nll(self, logits: Tensor) -> Tensor:
        """Raises:
        UserError: always.
        """
        raise UserError(
            "model.regularizers: the targets are numbers, and there is no uniform distribution over all numbers to "
            "smooth them with. Remove LabelSmoothing, or train a model whose targets are classes or labels."
        )
