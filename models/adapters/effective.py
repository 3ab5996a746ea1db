"""How far PEFT's layers have moved the weights of their base: by LoRA's factors, else by what would be merged."""

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, cast

import torch
from peft.tuners.adalora import AdaLoraLayer
from peft.tuners.lora import LoraLayer, ParamWrapper
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn

from .adapter import Change

DOUBLE = torch.float32 if torch.backends.mps.is_available() else torch.float64
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
Factors = tuple[Tensor, Tensor]
"""A [r, k] and B [d, r]."""


def changes_of_layers(model: nn.Module, start: Mapping[str, Factors] | None = None) -> list[Change]:
    """Of every layer that can be merged into its base, and of the modules that PEFT trains as a copy.

    Args:
        model: a ``PeftModel``.
        start: by layer, factors whose product was taken out of the base's weight.
    """
    layers: dict[str, Any] = {name: part for name, part in model.named_modules() if isinstance(part, BaseTunerLayer)}
    copies: dict[str, Any] = {
        name: part for name, part in model.named_modules() if isinstance(part, ModulesToSaveWrapper)
    }
    merging = {name: layer for name, layer in layers.items() if merges(layer)}
    apart = [part for name, part in layers.items() if name not in merging] + list(copies.values())
    unclaimed = {p for part in apart for p in trained(part)}
    # Some methods share what they train among their layers, outside of them.
    shared = tuple(p for p in trained(model) if p not in unclaimed)
    found = [Change(name, shared, Moved(layer, (start or {}).get(name))) for name, layer in merging.items()]
    return found + [Change(name, tuple(trained(part)), Copied(part)) for name, part in copies.items()]


def changes_in_place(model: nn.Module, start: dict[str, Tensor]) -> list[Change]:
    """Of the base's own parameters that train besides the adapter.

    Args:
        start: their values before training, by name; read when asked, since they move to the device.
    """
    parameters = dict(model.named_parameters())

    def change(name: str, p: nn.Parameter) -> Change:
        return Change(name, (p,), lambda: squares_of(p, start[name]))

    return [change(name, parameters[name]) for name in start]


def trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


@torch.no_grad()
def squares_of(now: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """|now - base|^2 and |base|^2."""
    base = base.detach().to(now.device, torch.float32)
    return square(now.detach().float() - base), square(base)


def square(x: Tensor) -> Tensor:
    """Squared Frobenius norm; the root of float32 is exact to seven digits, and sums over layers are double."""
    return torch.linalg.vector_norm(x).square().to(DOUBLE)


class Moved:
    """The squares of one tuner layer.

    Args:
        layer: whose adapter is active.
        start: factors whose product was taken out of the weight.
    """

    def __init__(self, layer: nn.Module, start: Factors | None = None) -> None:
        self.layer, self.start = layer, start

    @torch.no_grad()
    def __call__(self) -> tuple[Tensor, Tensor]:
        layer, start = self.layer, self.start
        if is_plain(layer):
            return low_rank_squares(cast(LoraLayer, layer), start)
        return merged_squares(layer)


def low_rank_squares(layer: LoraLayer, start: Factors | None) -> tuple[Tensor, Tensor]:
    """|s (B A - B_0 A_0)|^2 = s^2 tr((B'B)(AA')) with the start appended as ranks of the opposite sign: no product of
    the size of W. In double, since the two halves nearly cancel."""
    (name,) = layer.active_adapters
    a, b = (x.detach().to(DOUBLE) for x in factors(layer, name))
    weight = cast(Tensor, layer.get_base_layer().weight).detach().float()
    scale = layer.scaling[name]
    if start is not None:
        first, second = (x.to(a) for x in start)
        product = (scale * (second @ first)).float()
        weight = weight + (product.T if cast(Any, layer).fan_in_fan_out else product)
        a, b = torch.cat([a, first]), torch.cat([b, -second], dim=1)
    return scale**2 * ((b.T @ b) * (a @ a.T)).sum(), square(weight)


def is_plain(layer: nn.Module) -> bool:
    """Whether its whole update is one product of two factors; not so for DoRA and other variants."""
    if not isinstance(layer, LoraLayer) or isinstance(layer, ParamWrapper | AdaLoraLayer):
        return False
    if len(layer.active_adapters) != 1 or layer.lora_variant or any(layer.lora_bias.values()):
        return False
    (name,) = layer.active_adapters
    linear = name in layer.lora_A and isinstance(layer.lora_A[name], nn.Linear)
    return linear or name in layer.lora_embedding_A


def factors(layer: LoraLayer, name: str) -> Factors:
    if name in layer.lora_embedding_A:
        return layer.lora_embedding_A[name], layer.lora_embedding_B[name]
    return cast(Tensor, layer.lora_A[name].weight), cast(Tensor, layer.lora_B[name].weight)


def merged_squares(layer: Any) -> tuple[Tensor, Tensor]:
    """By merging a twin; in float32, where a bfloat16 weight would round the update away."""
    twin = twin_of(layer)
    twin.merge()
    now = dict(twin.get_base_layer().named_parameters())
    base = dict(layer.get_base_layer().named_parameters())
    pairs = [squares_of(now[name], p) for name, p in base.items()]
    return torch.stack([moved for moved, _ in pairs]).sum(), torch.stack([size for _, size in pairs]).sum()


def merges(layer: Any) -> bool:
    """Single layers refuse it, e.g. a bias that the base has no place for; tried out, since nothing else says it."""
    if is_plain(layer):
        return True
    try:
        twin_of(layer).merge()
    except (NotImplementedError, ValueError, RuntimeError):
        return False
    return True


def twin_of(layer: Any) -> Any:
    """A copy of its modules with a float32 copy of the base's weights; the adapter's own tensors are shared, and hooks
    are left out, which may hold the whole model."""
    memo: dict[int, Any] = {}
    for part in layer.modules():
        memo |= {id(value): value for value in vars(part).values() if isinstance(value, Tensor)}
        memo |= {id(vars(part)[name]): OrderedDict() for name in HOOKS}
        memo |= {id(x): x for x in (*part.parameters(recurse=False), *part.buffers(recurse=False))}
    for p in layer.get_base_layer().parameters():
        value = p.detach().float() if p.is_floating_point() else p.detach()
        memo[id(p)] = nn.Parameter(value.clone(), requires_grad=False)
    return copy.deepcopy(layer, memo)


class Copied:
    """The squares of a module of the base that trains as a copy of itself."""

    def __init__(self, wrapper: ModulesToSaveWrapper) -> None:
        self.wrapper = wrapper

    def __call__(self) -> tuple[Tensor, Tensor]:
        now = dict(self.wrapper.modules_to_save[self.wrapper.active_adapters[0]].named_parameters())
        pairs = [squares_of(now[name], p) for name, p in self.wrapper.original_module.named_parameters()]
        return torch.stack([moved for moved, _ in pairs]).sum(), torch.stack([size for _, size in pairs]).sum()
