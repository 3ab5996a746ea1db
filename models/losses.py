"""Losses as pure functions over supervised positions. Legend: B rows, T tokens, N supervised positions, V classes."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..contracts.batch import IGNORE

SUM_DTYPE = torch.float32 if torch.backends.mps.is_available() else torch.float64
"""Of sums over many tokens: float32 loses their sixth digit, and Apple's GPU has no float64."""

IMPOSSIBLE = -1e9
"""Logit of a class that a row has not: no probability, and finite, so that differences of logits stay numbers."""

ELEMENTS = 1 << 22
"""Numbers in one float32 tensor of a chunk, 16 MiB: many positions of a few classes, few of a large vocabulary."""


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


def directed_kl(logits: Tensor, others: Tensor) -> Tensor:
    """KL(p || q) in nats, p from ``logits`` and q from ``others``.

    Args:
        logits: [N, V]; others: [N, V].

    Returns:
        [N] float32, zero where the logits agree.
    """
    return ChunkedKL.apply(logits, others, 1.0, 0.0)  # pyright: ignore[reportReturnType]


def symmetric_kl(logits: Tensor, others: Tensor) -> Tensor:
    """Mean of both directions of the Kullback-Leibler divergence, in nats.

    Args:
        logits: [N, V]; others: [N, V].

    Returns:
        [N] float32, zero where the logits agree.
    """
    return ChunkedKL.apply(logits, others, 0.5, 0.5)  # pyright: ignore[reportReturnType]


class ChunkedKL(torch.autograd.Function):
    """there * KL(p || q) + back * KL(q || p) of each position, from log-softmaxes that are never all there at once.

    Only the logits are kept for the backward pass, which computes each chunk's log-softmaxes again. Beyond
    the logits and their gradients, in the dtypes they have, a pass holds a few float32 tensors of ``ELEMENTS`` numbers.
    The gradient is written out: where p equals q it is exactly zero, which softmax sums that differ from one by a
    rounding would not give. In float32 one direction by itself is right to about 1e-7 nats, so that the value of
    a smaller one may be rounding only, of either sign.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, others: Tensor, there: float, back: float) -> Tensor:
        ctx.save_for_backward(logits, others)
        ctx.there, ctx.back = there, back
        found = logits.new_empty(len(logits), dtype=wide(logits, others))
        for rows in chunks(logits):
            p, q, ratio = compared(logits[rows], others[rows])
            found[rows] = p.mul_(there).sub_(q, alpha=back).mul_(ratio).sum(-1)
        return found

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        logits, others = ctx.saved_tensors
        left, right = (
            torch.empty_like(x) if needed else None
            for x, needed in zip((logits, others), ctx.needs_input_grad, strict=False)
        )
        for rows in chunks(logits):
            p, q, ratio = compared(logits[rows], others[rows])
            scale = gradients[0][rows, None]
            if left is not None:
                left[rows] = slope(p, q, ratio, ctx.there, ctx.back).mul_(scale)
            if right is not None:
                right[rows] = slope(q, p, ratio.neg_(), ctx.back, ctx.there).mul_(scale)
        return left, right, None, None


def wide(*tensors: Tensor) -> torch.dtype:
    """float32 for anything narrower."""
    return functools.reduce(torch.promote_types, (x.dtype for x in tensors), torch.float32)


def chunks(logits: Tensor) -> Iterator[slice]:
    """Stretches of rows with at most ``ELEMENTS`` numbers, or a single row."""
    size = max(1, ELEMENTS // logits.shape[-1])
    return (slice(start, start + size) for start in range(0, len(logits), size))


def compared(logits: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """p, q and log p - log q of one chunk; a class that neither allows, at minus infinity in both, counts nothing."""
    dtype = wide(logits, others)
    log_p, log_q = logits.to(dtype).log_softmax(-1), others.to(dtype).log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()
    least = torch.finfo(dtype).min / 2
    return p, q, log_p.clamp_(min=least).sub_(log_q.clamp_(min=least))


def slope(own: Tensor, other: Tensor, ratio: Tensor, there: float, back: float) -> Tensor:
    """Derivative of there * KL(own || other) + back * KL(other || own) by the logits of ``own``.

    Args:
        ratio: log own - log other.
    """
    found = (own - other).mul_(back)
    if there:
        centred = ratio - (own * ratio).sum(-1, keepdim=True)
        found.add_(centred.mul_(own), alpha=there)
    return found


def uniform_nll(logits: Tensor) -> Tensor:
    """Mean over all classes of their negative log-likelihood; classes at ``IMPOSSIBLE`` or minus infinity are none.

    Args:
        logits: [N, V].

    Returns:
        [N] float32, nats.
    """
    return ChunkedUniformNLL.apply(logits)  # pyright: ignore[reportReturnType]


class ChunkedUniformNLL(torch.autograd.Function):
    """As ``ChunkedKL``: the logits are kept and no copy, each chunk is computed again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        ctx.save_for_backward(logits)
        found = logits.new_empty(len(logits), dtype=wide(logits))
        for rows in chunks(logits):
            values, possible = logits[rows].to(found.dtype), logits[rows] > IMPOSSIBLE / 2
            mean = values.where(possible, 0.0).sum(-1) / possible.sum(-1)
            found[rows] = values.logsumexp(-1) - mean
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (logits,) = ctx.saved_tensors
        found = torch.empty_like(logits)
        for rows in chunks(logits):
            p, possible = logits[rows].softmax(-1, dtype=wide(logits)), logits[rows] > IMPOSSIBLE / 2
            found[rows] = p.sub_(possible / possible.sum(-1, keepdim=True)).mul_(gradients[0][rows, None])
        return found
