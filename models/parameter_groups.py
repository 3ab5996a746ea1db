"""The optimizer's groups: which parameters weight decay leaves alone, told by module type and by the starting value,
never by name; and which have a learning rate of their own."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ..contracts.errors import UserError
from .adapters.structure import is_norm

MULTIPLIER = "lr_multiplier"


def undecayed(model: nn.Module) -> set[int]:
    """The ids of the trainable parameters that are never decayed.

    Norm gains (torch's classes and every class called ...Norm), biases and other vectors, and scales that start at one
    (IA3, DoRA magnitudes): decay would pull those to zero and silence the layer, while it pulls LoRA factors back to
    the pretrained model. To be called before a checkpoint is restored, since the starting values are looked at. What
    only the adapter knows (factors that hold pretrained weights, such as PiSSA's) is in ``Adapter.undecayed``.
    """
    found = set()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            is_scale = is_norm(module) or parameter.ndim <= 1 or bool((parameter == 1).all())
            if parameter.requires_grad and is_scale:
                found.add(id(parameter))
    return found


def parameter_groups(
    parameters: Iterable[nn.Parameter], exempt: set[int], multipliers: Mapping[int, float] | None = None
) -> list[dict[str, Any]]:
    """One group for each multiplier with weight decay and one without, the largest first; each parameter is in one.

    Without multipliers these are two groups at most.

    Args:
        parameters: what to train.
        exempt: ids from ``undecayed``.
        multipliers: of the learning rate, by id; 1 for the others.
    """
    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in parameters:
        key = ((multipliers or {}).get(id(parameter), 1.0), id(parameter) in exempt)
        members.setdefault(key, []).append(parameter)
    groups: list[dict[str, Any]] = []
    for multiplier, is_exempt in sorted(members, key=lambda key: (-key[0], key[1])):
        group: dict[str, Any] = {"params": members[multiplier, is_exempt]}
        groups.append(group | ({"weight_decay": 0.0} if is_exempt else {}))
        if multipliers:
            groups[-1][MULTIPLIER] = multiplier
    return groups


def scale_rates(optimizer: Optimizer) -> Optimizer:
    """Each group's own rate: the optimizer's, whatever its factory made it, times the group's multiplier.

    To be called before a schedule is built, which multiplies on top of what it finds.

    Raises:
        UserError: the optimizer has no rate, since it finds one by itself.
    """
    for group in optimizer.param_groups:
        if MULTIPLIER not in group:
            continue
        if group["lr"] is None:
            raise UserError(
                f"model.learning_rates multiply the optimizer's rate, and {type(optimizer).__name__} has none (lr: "
                "null); give it one in model.optimizer.init_args.lr, or remove them."
            )
        group["lr"] = group["lr"] * group[MULTIPLIER]
    return optimizer


def base_rate(optimizer: Optimizer) -> float:
    """The current rate of a parameter whose multiplier is 1."""
    group = optimizer.param_groups[0]
    return group["lr"] / group.get(MULTIPLIER, 1.0)
