"""Losses as pure functions over supervised positions. Legend: B rows, T tokens, N supervised positions, V classes."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..contracts.batch import IGNORE

SUM_DTYPE = torch.float32 if torch.backends.mps.is_available() else torch.float64
"""Of sums over many tokens: float32 loses their sixth digit, and Apple's GPU has no float64."""

CHUNK = 8192
"""Positions whose two float32 log-softmaxes are held at once; bounds memory for a large vocabulary."""


class Supervised(NamedTuple):
    """Where a causal language model is supervised, after the shift.

    Args:
        mask: [B, T] bool, the positions whose prediction counts.
        targets: [N] the next token of each, row by row.
        rows: [N] the row of each.
    """

    mask: Tensor
    targets: Tensor
    rows: Tensor


def shift(labels: Tensor) -> Supervised:
    """The causal shift, done here and nowhere else: position t predicts the label at t + 1.

    Args:
        labels: [B, T] unshifted token ids, IGNORE where a token is not a target.
    """
    following = F.pad(labels[:, 1:], (0, 1), value=IGNORE)
    mask = following != IGNORE
    return Supervised(mask, following[mask], mask.nonzero()[:, 0])


def token_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood in nats.

    Args:
        logits: [N, V] of any floating type; targets: [N].

    Returns:
        [N] float32.
    """
    return F.cross_entropy(logits.float(), targets, reduction="none")


def symmetric_kl(logits: Tensor, others: Tensor) -> Tensor:
    """Mean of both directions of the Kullback-Leibler divergence, in nats.

    Args:
        logits: [N, V]; others: [N, V].

    Returns:
        [N] float32, zero where the two distributions agree.
    """
    parts = []
    for left, right in zip(logits.split(CHUNK), others.split(CHUNK), strict=True):
        log_p, log_q = left.float().log_softmax(-1), right.float().log_softmax(-1)
        parts.append(0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1))
    return torch.cat(parts)


def directed_kl(logits: Tensor, others: Tensor) -> Tensor:
    """KL(p || q) in nats, p from ``logits`` and q from ``others``, both [N, V].

    Returns:
        [N] float32.
    """
    parts = []
    for left, right in zip(logits.split(CHUNK), others.split(CHUNK), strict=True):
        log_p, log_q = left.float().log_softmax(-1), right.float().log_softmax(-1)
        parts.append((log_p.exp() * (log_p - log_q)).sum(-1))
    return torch.cat(parts)
