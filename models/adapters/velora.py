"""VeLoRA's fixed directions (Miles et al., NeurIPS 2024, arXiv:2405.17991): what compresses the input of A for its
gradient, taken from the first training batch unless it is drawn or follows each batch."""

from typing import Any, cast

from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from .lora_residual import ADAPTER


def velora_layers(model: nn.Module) -> dict[str, Any]:
    layers = {name: cast(Any, layer) for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
    return {name: layer for name, layer in layers.items() if "lora_velora_embed" in layer.other_param_names}


def projections(model: nn.Module) -> dict[str, Tensor]:
    """The direction of each layer that has one by now."""
    layers = velora_layers(model).items()
    return {name: layer.lora_velora_embed[ADAPTER] for name, layer in layers if layer.lora_velora_initialized[ADAPTER]}


def take_projections(model: nn.Module, stored: dict[str, Tensor]) -> None:
    layers = velora_layers(model)
    for name, value in stored.items():
        layers[name].lora_velora_embed[ADAPTER] = value.to(layers[name].lora_velora_embed[ADAPTER])
        layers[name].lora_velora_initialized[ADAPTER] = True
