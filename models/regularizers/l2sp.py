"""L2-SP: a pull towards the pretrained weights (Li, Grandvalet and Davoine, ICML 2018, arXiv:1802.01483)."""

import math
from collections.abc import Iterator
from typing import Any, cast

import torch
from peft.tuners.adalora import AdaLoraLayer
from peft.tuners.fourierft import FourierFTLayer
from peft.tuners.loha import LoHaLayer
from peft.tuners.lokr import LoKrLayer
from peft.tuners.lora import ParamWrapper
from peft.tuners.randlora import RandLoraLayer
from peft.tuners.vblora import VBLoRALayer
from peft.tuners.vera import VeraLayer
from torch import Tensor, nn

from ...contracts.errors import UserError
from .low_rank import products_of
from .regularizer import Fresh, Regularizer, Term, replicated

ADDED = AdaLoraLayer | FourierFTLayer | LoHaLayer | LoKrLayer | ParamWrapper | RandLoraLayer | VBLoRALayer | VeraLayer
"""Layers that add to a weight what they build from parts, of which some start at random."""


class L2SP(Regularizer):
    """Objective: weight/2 |theta - theta_0|^2 over pretrained weights + head_weight/2 |theta_new|^2 over a new head.

    theta_0 is the value at the start, float32. On adapters the distance is that of the effective weights, since
    their factors have no meaningful anchor (LoRA's A starts random): on LoRA |s (B A - B_0 A_0)|^2 by the trace
    identity, without forming a product; on AdaLoRA, FourierFT, LoHa, LoKr, RandLoRA, VB-LoRA, VeRA and LoRA with
    ``target_parameters`` (a stack of experts) |dW - dW_0|^2 of the update that PEFT would merge. So inits whose product
    does not start at zero (PiSSA, OLoRA) start at distance 0 like all others. Everything else that trains is anchored
    at its own start: all weights, biases, norms, DoRA's magnitudes, scales (IA3), rotations (OFT), prompts. That is so
    for the factors of a nonlinear adapter as well (Bottleneck), of which the random one is held near noise: there
    weight decay says more.

    It is part of the objective, as in the authors' code, so that clipping and Adam's division act on it too.
    ``reg/L2SP`` is half the squared distance, that of a new head from zero included; a part whose weight is 0 is left
    out.

    Extra cost: no forward; once an optimizer step, some passes over the trainable weights: next to nothing on LoRA, a
    few percent in full fine-tuning of a small model on short rows. Memory: a float32 copy of the anchored weights and,
    while it is computed, one of their differences; none for LoRA from zero; the dense updates of adapted layers for
    the others above. Does nothing at the first step, and next to nothing where learning rate x weight x steps is
    far below 1 (at 2e-5 and 0.01 that needs millions of steps): sweep the weight on a log grid. Hurts where the task
    needs weights far from the base's, then as an early stop would.

    Args:
        weight: alpha; the authors' code uses 0.01 to 0.1.
        head_weight: beta, for weights without a pretrained value; None means the same as weight. Both 0 turn it off.

    Raises:
        UserError: on attach, where nothing trains that a weight above 0 is for.
    """

    shards = True

    def __init__(self, weight: float = 0.01, head_weight: float | None = None) -> None:
        self.weight = weight
        self.head_weight = weight if head_weight is None else head_weight
        if not (0 <= self.weight < math.inf and 0 <= self.head_weight < math.inf):
            raise UserError(
                f"model.regularizers: L2SP(weight={weight}, head_weight={head_weight}): below 0 it would push the "
                "weights away from where they started; use numbers of 0 or more."
            )

    def attach(self, model: nn.Module) -> None:
        if not self.weight and not self.head_weight:
            return
        products = [product for layer in model.modules() for product in products_of(layer)]
        added = [Added(layer, name) for layer in model.modules() for name in added_by(layer)]
        heads = [module for module in model.modules() if isinstance(module, Fresh)]
        self.fresh = [p for head in heads for p in head.parameters() if p.requires_grad]
        known = {p for one in products for p in (one.a, one.b)} | {p for one in added for p in one.parameters()}
        known |= set(self.fresh)
        self.moves = [*products, *added]
        trained = [p for p in model.parameters() if p.requires_grad and p not in known]
        self.anchored = [(p, p.detach().float().clone()) for p in trained]
        if not (self.weight and (self.moves or self.anchored)) and not (self.head_weight and self.fresh):
            raise UserError(
                f"model.regularizers: L2SP(weight={self.weight}, head_weight={self.head_weight}) has nothing to act "
                f"on: {'only a new head' if self.fresh else 'no new head'} trains, and "
                f"{'head_weight' if self.fresh else 'weight'} is 0. Set it above 0, or remove L2SP."
            )

    def parameter_term(self) -> Term | None:
        if not self.weight and not self.head_weight:
            return None
        pretrained = [replicated(move.square_moved()) for move in self.moves]
        if self.anchored:
            self.anchored = [(p, anchor.to(p.device)) for p, anchor in self.anchored]
            moved = SquareMoved.apply([anchor for _, anchor in self.anchored], *(p for p, _ in self.anchored))
            pretrained.append(replicated(moved))
        new = [replicated(p.float().square().sum()) for p in self.fresh]
        distance, size = total(pretrained), total(new)
        shown = distance * bool(self.weight) + size * bool(self.head_weight)
        return Term(0.5 * self.weight * distance + 0.5 * self.head_weight * size, 0.5 * shown)


class Added:
    """What one adapter adds to the weight of a layer, and what it added at the start; [d, k]."""

    def __init__(self, layer: nn.Module, name: str) -> None:
        self.module, self.layer, self.name = layer, cast(Any, layer), name
        self.start = self.now().detach()

    def now(self) -> Tensor:
        return self.layer.get_delta_weight(self.name).float()

    def parameters(self) -> Iterator[nn.Parameter]:
        base = set(self.layer.get_base_layer().parameters())
        return (p for p in self.module.parameters() if p not in base)

    def square_moved(self) -> Tensor:
        now = self.now()
        return (now - self.start.to(now.device)).square().sum()


class SquareMoved(torch.autograd.Function):
    """Sum over parameters of |p - anchor|^2, float32: three passes over them, where autograd by itself takes eight."""

    @staticmethod
    def forward(ctx: Any, anchors: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.moved = [p.float() - anchor for p, anchor in zip(parameters, anchors, strict=True)]
        ctx.dtypes = [p.dtype for p in parameters]
        return torch.stack([torch.linalg.vector_norm(moved) for moved in ctx.moved]).square().sum()

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        factor = 2 * gradients[0]
        slopes = ((moved * factor).to(dtype) for moved, dtype in zip(ctx.moved, ctx.dtypes, strict=True))
        return None, *slopes


def added_by(layer: nn.Module) -> list[str]:
    """The adapters that add to this layer's weight in a way that only PEFT knows."""
    return layer.active_adapters if isinstance(layer, ADDED) else []


def total(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum() if terms else torch.zeros(())
