"""LoRA factors that start with a part of the weight: W = (W - s B_0 A_0) + s B_0 A_0, what is trained and what is kept.

PEFT stores A and B alone and draws or computes A_0 and B_0 again on loading: a randomised decomposition comes out
differently, and one that was learned from data is left out, both in silence. What is kept here instead is the plain
LoRA of twice the rank that says the same of the *original* base, s [B, -B_0] [A; A_0] = s (B A - B_0 A_0), so that any
reader of PEFT's format gets it right, and both halves can be told apart again.
"""

import copy
import math
from typing import Any, cast

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

ADAPTER = "default"
Start = dict[str, tuple[Tensor, Tensor]]
"""A_0 and B_0 of each layer."""

EMBEDDINGS = {".lora_embedding_A": 0, ".lora_embedding_B": 1}
"""An embedding's factors, which start as in plain LoRA whatever the init, and the axis of their rank."""


def layers_of(model: nn.Module) -> dict[str, LoraLayer]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer) and len(layer.lora_A)}


def factors(layer: LoraLayer) -> tuple[nn.Parameter, nn.Parameter]:
    """A [r, k] and B [d, r]."""
    a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    assert isinstance(a, nn.Parameter) and isinstance(b, nn.Parameter)
    return a, b


def start_of(model: nn.Module) -> Start:
    """Copies of the factors of each layer, on the CPU."""
    found = {name: factors(layer) for name, layer in layers_of(model).items()}
    return {name: (a.detach().cpu().clone(), b.detach().cpu().clone()) for name, (a, b) in found.items()}


def doubled(config: LoraConfig) -> LoraConfig:
    """The configuration of the plain LoRA of twice the rank and the same scale."""
    config = copy.deepcopy(config)
    factor = math.sqrt(2) if config.use_rslora else 2
    config.init_lora_weights, config.corda_config, config.lora_ga_config = True, None, None
    config.r *= 2
    config.rank_pattern = {key: 2 * rank for key, rank in (config.rank_pattern or {}).items()}
    config.lora_alpha = scaled(config.lora_alpha, factor)
    config.alpha_pattern = {key: scaled(alpha, factor) for key, alpha in (config.alpha_pattern or {}).items()}
    return config


def scaled(alpha: float, factor: float) -> Any:
    return alpha * factor


def joined(state: dict[str, Tensor], start: Start) -> dict[str, Tensor]:
    """PEFT's state of an adapter with the start appended as ranks of the opposite sign; an embedding gets zeros."""
    state = dict(state)
    for name, (a, b) in start.items():
        own_a, own_b = state[f"{name}.lora_A.weight"], state[f"{name}.lora_B.weight"]
        state[f"{name}.lora_A.weight"] = torch.cat([own_a, a.to(own_a)])
        state[f"{name}.lora_B.weight"] = torch.cat([own_b, -b.to(own_b)], dim=1)
    for key, axis in embeddings_in(state).items():
        state[key] = torch.cat([state[key], torch.zeros_like(state[key])], dim=axis)
    return state


def parted(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], Start]:
    """What ``joined`` put together."""
    state, start = dict(state), Start()
    for key in [key for key in state if key.endswith(".lora_A.weight")]:
        name = key.removesuffix(".lora_A.weight")
        a, b = state[key], state[f"{name}.lora_B.weight"]
        rank = len(a) // 2
        state[key], state[f"{name}.lora_B.weight"] = a[:rank].clone(), b[:, :rank].clone()
        start[name] = a[rank:].clone(), -b[:, rank:]
    for key, axis in embeddings_in(state).items():
        state[key] = state[key].chunk(2, dim=axis)[0].clone()
    return state, start


def embeddings_in(state: dict[str, Tensor]) -> dict[str, int]:
    return {key: axis for key in state for ending, axis in EMBEDDINGS.items() if key.endswith(ending)}


def same_start(one: Start, other: Start) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(mine, its) for name, pair in one.items() for mine, its in zip(pair, other[name], strict=True)
    )


@torch.no_grad()
def take_start(model: nn.Module, start: Start, scale_last: bool) -> None:
    """Give a plain LoRA, whose B is zero, the factors and the residual of a start, to the bit."""
    move_start(model, start_of(model), start, scale_last)
    for name, layer in layers_of(model).items():
        for factor, value in zip(factors(layer), start[name], strict=True):
            factor.data.copy_(value)


@torch.no_grad()
def move_start(model: nn.Module, old: Start, new: Start, scale_last: bool) -> None:
    """Give the base's layers the residual of another start: the same bits as at training where there was none.

    Args:
        model: whose layers hold W - s B_0 A_0 of ``old``.
        old: by layer; B_0 is zero where the base is untouched.
        new: the start that the loaded factors were trained from.
        scale_last: whether PEFT's init rounds s (B A), or (s B) A.
    """
    for name, layer in layers_of(model).items():
        if all(torch.equal(x, y) for x, y in zip(old[name], new[name], strict=True)):
            continue
        weight = layer.get_base_layer().weight
        assert isinstance(weight, Tensor)

        def product(a: Tensor, b: Tensor, layer: LoraLayer = layer, weight: Tensor = weight) -> Tensor:
            a, b, scale = a.to(weight.device).float(), b.to(weight.device).float(), layer.scaling[ADAPTER]
            update = scale * (b @ a) if scale_last else scale * b @ a
            return update.T if cast(Any, layer).fan_in_fan_out else update

        original = weight.data.float() + product(*old[name])
        weight.data = (original - product(*new[name])).to(weight.dtype)
