"""Which parameters weight decay must leave alone, told by module type and by the starting value, never by name."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, _NormBase)


def undecayed(model: nn.Module) -> set[int]:
    """The ids of the trainable parameters that are never decayed.

    Norm gains (torch's classes and every class called ...Norm), biases and other vectors, and scales that start at one
    (IA3, DoRA magnitudes): decay would pull those to zero and silence the layer, while it pulls LoRA factors back to
    the pretrained model. To be called before a checkpoint is restored, since the starting values are looked at.
    """
    found = set()
    for module in model.modules():
        is_norm = isinstance(module, NORMS) or type(module).__name__.endswith("Norm")
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad and (is_norm or parameter.ndim <= 1 or bool((parameter == 1).all())):
                found.add(id(parameter))
    return found


def decay_groups(parameters: Iterable[nn.Parameter], exempt: set[int]) -> list[dict[str, Any]]:
    """Two groups for an optimizer: with its weight decay, and with none. Empty groups are left out.

    Args:
        parameters: what to train.
        exempt: ids from ``undecayed``.
    """
    decayed: list[torch.Tensor] = []
    spared: list[torch.Tensor] = []
    for parameter in parameters:
        (spared if id(parameter) in exempt else decayed).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
