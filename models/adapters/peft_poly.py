"""Polytropon: LoRA skills mixed per task (Ponti et al., EACL 2023, arXiv:2202.13914)."""

from typing import Any

import torch
from peft import PolyConfig
from peft.tuners.poly import PolyLayer
from torch import nn
from transformers import PreTrainedModel

from ...contracts.errors import UserError
from .peft import Peft


class PeftPoly(Peft):
    """h = W x + B A x, where A and B are means of ``n_skills`` skills by weights that train for each task.

    With its one task here it is a LoRA of rank r whose factors are sums of trained skills, under noise on their weights
    (relaxed Bernoulli draws) while it trains. Trains ``n_skills`` r (d + k) + ``n_skills`` ``n_splits`` per layer. Does
    not merge in PEFT; switched off it is the base. Weight decay pulls to the base.

    Raises:
        UserError: more than one task.
    """

    config: PolyConfig

    def __init__(self, config: PolyConfig) -> None:
        if config.n_tasks != 1:
            raise UserError(
                f"model.adapter: PolyConfig.n_tasks is {config.n_tasks}, and rows carry no number of a task when the "
                "model is evaluated or deployed. Set n_tasks to 1, or train one adapter for each task."
            )
        super().__init__(config)

    @property
    def merges(self) -> bool:
        return False

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        model = super().adapt(backbone)
        for layer in model.modules():
            if isinstance(layer, PolyLayer):
                assert isinstance(layer, nn.Module)
                layer.register_forward_pre_hook(only_task, with_kwargs=True)
        return model


def only_task(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Each row of a layer's input belongs to task 0."""
    return args, kwargs | {"task_ids": torch.zeros(len(args[0]), dtype=torch.long, device=args[0].device)}
