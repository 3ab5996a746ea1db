"""The protocol of everything that stands in ``regularizers:``; each hook left alone adds nothing.

Legend: N supervised positions of one micro-batch, V classes or vocabulary, H hidden width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from torch import Tensor, nn


class Fresh(nn.Module):
    """Base of modules whose weights have no pretrained value, such as a new classification head."""


class Outputs(NamedTuple):
    """One pass of the model, at the supervised positions only.

    Args:
        logits: [N, V].
        hidden: [N, H], what the last linear layer reads.
    """

    logits: Tensor
    hidden: Tensor


class Term(NamedTuple):
    """What a method adds to the objective.

    Args:
        addition: scalar in nats, already weighted; summed over the supervised positions for a token term.
        shown: scalar, the same without its weight; logged as ``reg/<Name>`` (per supervised position for a token term).
    """

    addition: Tensor
    shown: Tensor


class Likelihood(Protocol):
    """What logits say about a label; the ones there are stand in ``models/likelihoods.py``."""

    def nll(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Negative log-likelihood of each target, [N] float32 in nats."""
        ...

    def divergence(self, logits: Tensor, others: Tensor) -> Tensor:
        """Mean of both directions of the Kullback-Leibler divergence of each position, [N] float32 in nats."""
        ...


@dataclass
class Step:
    """One micro-batch's first forward, as a token term sees it: the shift, pads and masks are dealt with.

    Args:
        outputs: logits and hidden states of the first forward.
        targets: [N] class or token ids; [N] float32 for a regression, [N, C] of 0 and 1 for a multi-label target.
        rows: [N] the row of the batch that a position belongs to.
        nll: [N] negative log-likelihood in nats, float32, with its graph.
        likelihood: what the logits say about the targets; no method may assume a softmax.
        forward: another pass over the same batch, with the next counted dropout masks.
    """

    outputs: Outputs
    targets: Tensor
    rows: Tensor
    nll: Tensor
    likelihood: Likelihood
    forward: Callable[[], Outputs] = field(repr=False)

    @property
    def logits(self) -> Tensor:
        return self.outputs.logits

    @property
    def hidden(self) -> Tensor:
        return self.outputs.hidden


class Regularizer:
    """One method: a term of the objective, or a change of the gradient.

    The order within one optimizer step: token terms of each micro-batch, reduction to the mean over the step's
    supervised tokens, parameter terms, ``shape_gradients`` in list order, clipping, the update, ``after_step``.
    A method at its neutral setting returns None and draws nothing, so that the run equals the baseline bit for bit.
    """

    def attach(self, model: nn.Module) -> None:
        """Called once with the adapted model, before compilation and before a checkpoint is restored."""

    def token_term(self, step: Step) -> Term | None:
        """A sum over the micro-batch's supervised positions; joins its loss, under its autocast and its graph."""

    def parameter_term(self) -> Term | None:
        """A function of the weights alone; differentiated once an optimizer step, on unscaled gradients."""

    def shape_gradients(self, parameters: Sequence[nn.Parameter], replay: Callable[[], None]) -> None:
        """Edits ``p.grad``, the gradient of the whole objective; runs once an optimizer step, before clipping.

        Args:
            parameters: everything the optimizer moves.
            replay: recomputes every ``p.grad`` at the current weights, over the same window and dropout masks.
        """

    def after_step(self, parameters: Sequence[nn.Parameter]) -> None:
        """Called after the update: projections, or weights that decay must not have moved."""
