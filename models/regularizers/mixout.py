"""Mixout: dropout towards the pretrained weights (Lee, Cho and Kang, ICLR 2020, arXiv:1909.11299)."""

from functools import partial
from typing import TypeGuard, cast

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import MultiheadAttention, ParamWrapper
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ...contracts.errors import UserError
from .low_rank import products_of
from .regularizer import Regularizer, forward_generator


class Mixout(Regularizer):
    """In every training forward each trained linear layer computes with, in place of its weight w,

        w~ = ((1 - M) u + M w - p u) / (1 - p) = u + M (w - u) / (1 - p)

    u is its pretrained value and M has one entry per input feature, 1 with probability 1 - p and else 0, alike for all
    outputs and all rows of a forward. E[w~] = w and Var[w~] = p / (1 - p) (w - u)^2: for a convex loss an L2-SP whose
    strength follows the curvature. Another forward of a step (R-Drop) draws other masks.

    Biases are not mixed, nor are new heads, whose random start is no knowledge (the authors' code mixes them too and
    switches dropout off; here dropout is the model's business). Embeddings, and a weight that an embedding shares,
    keep their own value outside linear layers. The backward pass is the derivative, M / (1 - p); the authors' code
    multiplies by M alone, so that its gradients of mixed weights are smaller by 1 - p than those of others.

    On LoRA the weight is mixed with the base's: W_0 + M scale B A / (1 - p), which is a mask on what A reads.
    It differs from LoRA's own dropout only in that the mask is the same for all tokens: do not stack both blindly.
    Inits whose product does not start at zero (PiSSA, OLoRA) and variants with another function (DoRA) are refused.

    Extra cost: no forward; some passes over the mixed weights in every forward, which is felt where rows are few and
    short. Memory: a float32 copy of each mixed weight, and its w~ is held for the backward pass (neither for LoRA).
    ``torch.compile`` splits its graph at every mixed layer. At the first step w = u, so that only the gradient is
    masked. Hurts where p is high and steps are few: a share p of each gradient's columns is dropped. A longer run of
    bias-corrected Adam gained more than Mixout in Mosbach et al., 2021, arXiv:2006.04884. Nothing in ``eval()``.

    Args:
        p: in [0, 1); the paper uses 0.7 to 0.9, Mosbach et al.'s comparison 0.1 on RTE. 0 turns the method off.

    Raises:
        UserError: p is out of its range; on attach, where nothing that trains can be mixed.
    """

    def __init__(self, p: float = 0.9) -> None:
        if not 0 <= p < 1:
            raise UserError(
                f"Mixout(p={p}): p is the probability that an input feature meets the pretrained weight, in [0, 1); "
                "at 1 nothing would be trained."
            )
        self.p = p

    def attach(self, model: nn.Module) -> None:
        if not self.p:
            return
        mixed = 0
        for name, module in own_modules(model):
            if isinstance(module, LoraLayer):
                mixed += self.mix_update(name, module)
            elif is_linear(module) and module.weight.requires_grad:
                module.forward = Mixed(self, name, module).forward  # pyright: ignore[reportAttributeAccessIssue]
                mixed += 1
        if not mixed:
            raise UserError(
                f"Mixout(p={self.p}) mixes trained linear weights with their pretrained values, and nothing that "
                "trains here is one (biases, norms, and what an adapter or head adds are not). Choose an adapter that "
                "trains some (model.adapter: finelab.models.adapters.Full, or peft.LoraConfig), or remove it."
            )

    def conflict(self, other: Regularizer) -> str | None:
        if isinstance(other, Mixout) and self.p and other.p:
            return "they would draw the same masks, and the product of a mask with itself is no mixture; use one p."
        return None

    def mix_update(self, name: str, layer: LoraLayer) -> int:
        """Masks what A reads; returns how many updates of this layer are mixed.

        Raises:
            UserError: with the mask its function would not be the mixed one.
        """
        factors = [a for a in layer.lora_A.values() if isinstance(a, nn.Linear)]
        other = bool(layer.lora_variant) or isinstance(layer, ParamWrapper | MultiheadAttention)
        if factors and (other or any(product.start is not None for product in products_of(cast(nn.Module, layer)))):
            raise UserError(
                f"Mixout(p={self.p}) masks what LoRA's A reads, which mixes with the base where the update is B A and "
                f"starts at zero. That of {name} does not: an init that moves part of the weight into it (PiSSA, "
                "OLoRA), a variant (DoRA), or target_parameters. Set model.adapter.init_args: init_lora_weights: true, "
                "use_dora: false, or remove Mixout."
            )
        for a in factors:
            a.register_forward_pre_hook(partial(self.mask_input, name))
        return len(factors)

    def mask_input(self, name: str, factor: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor] | None:
        if not factor.training:
            return None
        (x,) = inputs
        return (x * self.mask(name, x.shape[-1], x.device).to(x.dtype),)

    def mask(self, name: str, features: int, device: torch.device) -> Tensor:
        """[features], M / (1 - p); the same for one module in all of a forward, recomputed activations included."""
        drawn = uniform(f"Mixout/{name}", features, device)  # pyright: ignore[reportCallIssue]
        return (drawn >= self.p).float() / (1 - self.p)


@torch.compiler.disable
def uniform(name: str, features: int, device: torch.device) -> Tensor:
    return torch.rand(features, generator=forward_generator(name, device), device=device)


class Mixed:
    """Stands in for a linear layer's ``forward``, so that ``state_dict`` and shared weights stay as they are.

    Args:
        start: the pretrained weight in float32; it follows the weight's device.
    """

    def __init__(self, method: Mixout, name: str, layer: nn.Linear | Conv1D) -> None:
        self.method, self.name, self.layer, self.plain = method, name, layer, layer.forward
        self.start = layer.weight.detach().float().clone()

    def forward(self, input: Tensor) -> Tensor:
        if not self.layer.training:
            return self.plain(input)
        weight, inputs_first = self.layer.weight, isinstance(self.layer, Conv1D)
        mask = self.method.mask(self.name, input.shape[-1], weight.device)
        self.start = self.start.to(weight.device)
        mixed = self.start + (mask.unsqueeze(1) if inputs_first else mask) * (weight.float() - self.start)
        mixed = mixed.to(weight.dtype)
        return F.linear(input, mixed.T if inputs_first else mixed, self.layer.bias)


def own_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The pretrained model's modules by name. What stands inside a linear or adapted layer was added by an adapter; a
    new head and a prompt's encoder stand outside of the pretrained model."""
    base = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
    layers = [module for module in base.modules() if is_linear(module) or isinstance(module, BaseTunerLayer)]
    added = {part for layer in layers for part in layer.modules() if part is not layer}
    return [(name, module) for name, module in base.named_modules() if module not in added]


def is_linear(module: nn.Module) -> TypeGuard[nn.Linear | Conv1D]:
    """Exactly those: a quantised layer computes with something else than its weight."""
    return type(module) in (nn.Linear, Conv1D)
