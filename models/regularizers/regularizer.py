"""The protocol of everything that stands in ``regularizers:``; each hook left alone adds nothing.

Legend: N supervised positions of one micro-batch, V classes or vocabulary, H hidden width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ...contracts.batch import Batch
from ...contracts.seeds import derive


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

    def kl(self, logits: Tensor, others: Tensor) -> Tensor:
        """KL(p || q) of each position, p from ``logits`` and q from ``others``, [N] float32 in nats."""
        ...

    def uniform_nll(self, logits: Tensor) -> Tensor:
        """Negative log-likelihood of each position under targets drawn uniformly from all labels, [N] float32 in nats.

        Raises:
            UserError: there is no uniform distribution over the targets.
        """
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
        reference: the base's function on the same batch, in eval mode and without a graph; computed once a micro-batch.
    """

    outputs: Outputs
    targets: Tensor
    rows: Tensor
    nll: Tensor
    likelihood: Likelihood
    forward: Callable[[], Outputs] = field(repr=False)
    reference: Callable[[], Outputs] = field(repr=False)

    @property
    def logits(self) -> Tensor:
        return self.outputs.logits

    @property
    def hidden(self) -> Tensor:
        return self.outputs.hidden


class Survey(Protocol):
    """A look at training rows before the first step, which shifts no later draw."""

    def rows(self, limit: int) -> Iterator[Batch]:
        """Batches of a single row: this rank's share of about ``limit`` rows, the first of all training rows in a fixed
        random order. A mixture's sources come by their numbers of rows, whatever their weights."""
        ...

    def nll(self, batch: Batch) -> Tensor:
        """Sum over the batch's supervised positions in nats, with its graph; the model is in eval mode."""
        ...

    def everyones_rows(self, limit: int) -> list[Batch]:
        """The rows of all ranks, the same on each."""
        ...

    def losses(self, batch: Batch) -> Tensor:
        """[N] the same of each supervised position."""
        ...

    def summed(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all ranks."""
        ...


class Replay(Protocol):
    """The optimizer step's accumulation window, to be computed again.

    Attributes:
        objective: mean objective of the window, in nats, where the gradient that is to be shaped was computed.
    """

    @property
    def objective(self) -> float: ...

    def __call__(self) -> float:
        """Recompute every ``p.grad`` at the current weights, over the same window and dropout masks, as the methods
        that stand earlier in the list have shaped it.

        Returns:
            the mean objective of the window, in nats.
        """
        ...

    def generator(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        """A generator counted by (train seed, optimizer step, name): the same on every rank and in every replay."""
        ...


class Regularizer:
    """One method: a term of the objective, a perturbation of the forward, or a change of the gradient.

    The order within one optimizer step: for each micro-batch ``before_forward``, forward, token terms; reduction to the
    mean over the step's supervised tokens, parameter terms, ``shape_gradients`` in list order, clipping, the update,
    ``after_step``. A method at its neutral setting returns None, installs nothing and draws nothing, so that the run
    equals the baseline bit for bit.

    A perturbation is a hook that ``attach`` puts on modules of the model. It acts only while the module is training,
    and draws from ``forward_generator`` only.

    Attributes:
        reads_base: whether the method asks for ``step.reference()``; refused where an adapter has lost the base.
        surveys: whether ``before_training`` asks for rows; refused before anything else where the data has none.
        replays: whether ``shape_gradients`` may call ``replay``, for which the window's batches are kept; refused
            under float16 loss scaling.
        shards: whether the method is exact where weights lie in shards (FSDP2); refused there otherwise.
        needs_noise: whether the method adds nothing where two forwards of one batch draw no random number.
    """

    reads_base: bool = False
    surveys: bool = False
    replays: bool = True
    needs_noise: bool = False
    shards: bool = False

    def attach(self, model: nn.Module) -> None:
        """Called once with the adapted model, before compilation and before a checkpoint is restored.

        Raises:
            UserError: the method cannot act on this model.
        """

    def conflict(self, other: "Regularizer") -> str | None:
        """Why this method cannot stand in one list with another one; None where it can."""

    def before_training(self, survey: Survey) -> None:
        """Called once, before the first step, with the weights restored and the model on its device."""

    def before_forward(self, batch: Batch) -> None:
        """Called before each training forward of a batch (first, extra or replayed); never before a reference."""

    def token_term(self, step: Step) -> Term | None:
        """A sum over the micro-batch's supervised positions; joins its loss, under its autocast and its graph."""

    def parameter_term(self) -> Term | None:
        """A function of the weights alone; differentiated once an optimizer step, on unscaled gradients."""

    def shape_gradients(self, parameters: Sequence[nn.Parameter], replay: Replay) -> float | None:
        """Edits ``p.grad``, the gradient of the whole objective; runs once an optimizer step, before clipping.

        It also runs inside a replay that a method later in the list asks for.

        Args:
            parameters: everything the optimizer moves.
            replay: computes the step's gradient again.

        Returns:
            an unweighted value to be logged as ``reg/<Name>``, or None.
        """

    def after_step(self, parameters: Sequence[nn.Parameter]) -> None:
        """Called after the update: projections, weights that decay must not have moved, and what a step leaves behind.
        Also after a step without supervised tokens, which moves nothing and shapes no gradient."""

    def state(self) -> dict[str, Any]:
        """What a resume needs beyond the weights and what ``attach`` rebuilds: tensors and plain values.

        Draws are counted and what ``attach`` keeps of the start is there again, so that most methods have none. One
        that has is not asked again for ``before_training`` when a run goes on.
        """
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave, after ``attach`` and with the model on its device."""


def replicated(number: Tensor) -> Tensor:
    """What every rank has: a number that was computed from sharded weights is a sum that is still to be made."""
    return number.full_tensor() if isinstance(number, DTensor) else number


def forward_seed() -> int:
    """The identity of the forward that runs now: its counted seed, alike in a replay and in a recomputed activation."""
    return torch.default_generator.initial_seed()


def forward_generator(name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A private generator for the forward that runs now; it takes nothing from the stream that dropout draws from.

    Extra forwards get other draws than the first. Activation checkpointing restores the seed of the forward that it
    recomputes, so that a draw inside a checkpointed region comes out the same again.

    Args:
        name: of the method, and of the module where it draws once a module.
    """
    Perturbed.seed = forward_seed()
    generator = torch.Generator(device)
    return generator.manual_seed(derive(name, forward_seed()))


class Perturbed:
    """The latest forward for which a method has drawn."""

    seed: ClassVar[int | None] = None


def forward_drew(device: torch.device) -> bool:
    """Whether the forward that ran last drew any random number: for dropout of whatever kind, or for a method.

    Args:
        device: of the model; its default generator counts beside the CPU's.
    """
    seed = forward_seed()
    states = {torch.device("cpu"): torch.default_generator.get_state()}
    if device.type != "cpu":
        states[device] = torch.get_device_module(device).get_rng_state(device)
    untouched = {where: torch.Generator(where).manual_seed(seed).get_state() for where in states}
    return Perturbed.seed == seed or any(not torch.equal(states[where], untouched[where]) for where in states)
