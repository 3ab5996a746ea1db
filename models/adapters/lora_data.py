"""What three inits of LoRA learn from training rows before the first step: EVA, CorDA, LoRA-GA, as PEFT has them.

The rows are unpadded, the model is in eval mode, and every rank looks at all of them, so that all start alike.
"""

import copy
from collections.abc import Callable, Iterable
from pickle import UnpicklingError
from typing import Any

import torch
from peft import EvaConfig, LoraConfig
from peft.tuners.lora import get_eva_state_dict, preprocess_loraga
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.corda import preprocess_corda
from peft.tuners.lora.model import LoraModel
from peft.tuners.tuners_utils import _maybe_include_all_linear_layers
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...contracts.batch import IGNORE, MODEL_INPUTS, Batch
from ...contracts.errors import UserError
from ..regularizers.regularizer import Survey

ROWS = 256
"""Training rows that an init looks at; CorDA's authors take 256 samples."""

PASSES = 50
"""Rounds over them after which EVA's directions should have settled."""


def init_of(config: LoraConfig) -> str:
    """The init by name; the type of ``init_lora_weights`` has no word for LoRA-GA, which its own section asks for."""
    if config.lora_ga_config is not None and config.init_lora_weights in (True, "lora_ga"):
        return "lora_ga"
    return str(config.init_lora_weights)


def learns_from_data(config: LoraConfig) -> bool:
    return init_of(config) in ("eva", "corda", "lora_ga")


def with_own_section(config: LoraConfig) -> LoraConfig:
    """A copy with the section of its init, which PEFT leaves out where LoftQ's is given: a parser gives every one."""
    config = copy.copy(config)
    if config.init_lora_weights == "eva":
        config.eva_config = config.eva_config or EvaConfig()
    if config.init_lora_weights == "corda":
        config.corda_config = config.corda_config or CordaConfig()
    return config


def with_named_layers(config: LoraConfig, backbone: PreTrainedModel) -> LoraConfig:
    """``target_modules`` as PEFT resolves them on injection; the passes over data come before that."""
    if config.target_modules is None:
        known = LoraModel.target_module_mapping.get(backbone.config.model_type)
        config.target_modules = None if known is None else list(known)
    _maybe_include_all_linear_layers(config, backbone)
    return config


def look(config: LoraConfig, backbone: PreTrainedModel, survey: Survey) -> dict[str, Tensor]:
    """The pass over training rows. CorDA's and LoRA-GA's findings are left on the backbone's layers, where PEFT's init
    takes them from; EVA's are returned, by the name of a layer.

    Raises:
        UserError: PEFT's pass cannot work with this model or these rows.
    """
    rows, name = list(survey.everyones_rows(ROWS)), init_of(config)
    if not rows:
        raise UserError(f"model.adapter: the init {name} looks at training rows, and there are none.")
    try:
        if name == "eva":
            return eva(config, backbone, rows)
        if name == "corda":
            preprocess_corda(backbone, config, run_model=quietly(survey, rows))
        else:
            lora_ga(config, backbone, survey, rows)
    except UnpicklingError as error:
        raise UserError(
            f"model.adapter: the file that the init {name} is told to start from is a pickle that holds more than "
            "tensors, and was not loaded. Leave cache_file and covariance_file out, so that they are made anew."
        ) from error
    except (ValueError, TypeError, LookupError, RuntimeError, ZeroDivisionError) as error:
        raise UserError(
            f"model.adapter: the init {name} cannot learn from {len(rows)} training rows of this task with "
            f"{type(backbone).__name__}: {error}. Choose another init_lora_weights."
        ) from error
    return {}


def quietly(survey: Survey, rows: Iterable[Batch]) -> Callable[[], None]:
    def run() -> None:
        for row in rows:
            survey.nll(row)

    return run


def lora_ga(config: LoraConfig, backbone: PreTrainedModel, survey: Survey, rows: list[Batch]) -> None:
    """The gradient of the mean NLL of a supervised position; PEFT divides by the number of rows once more."""
    positions = 0

    def run() -> None:
        nonlocal positions
        backbone.eval()
        for row in rows:
            losses = survey.losses(row)
            positions += len(losses)
            losses.sum().backward()

    preprocess_loraga(backbone, config, run)
    for layer in backbone.modules():
        if "_peft_loraga_grad" in vars(layer):
            vars(layer)["_peft_loraga_grad"] *= len(rows) / positions


def eva(config: LoraConfig, backbone: PreTrainedModel, rows: list[Batch]) -> dict[str, Tensor]:
    if backbone.config.is_encoder_decoder:
        raise ValueError("PEFT's EVA masks the positions of one sequence, and an encoder-decoder has two")
    assert config.eva_config is not None
    least = round(max([config.r, *(config.rank_pattern or {}).values()]) * config.eva_config.rho)
    batches = padded_together(rows, least, config.eva_config.use_label_mask)
    passes = 0

    def forward(model: nn.Module, inputs: dict[str, Any]) -> None:
        nonlocal passes
        passes += 1
        if passes > PASSES * len(batches):
            raise ValueError(f"its directions still move after {PASSES} rounds; lower eva_config.tau")
        model(**{key: inputs[key] for key in MODEL_INPUTS if key in inputs})

    return get_eva_state_dict(
        backbone, batches, config, forward_fn=forward, gather_distributed_inputs=False, show_progress_bar=False
    )


def padded_together(rows: list[Batch], least: int, supervised_only: bool) -> list[dict[str, Tensor]]:
    """Rows in groups of at least so many positions, which PEFT wants of each batch.

    Raises:
        ValueError: all rows together have fewer.
    """
    groups: list[list[Batch]] = [[]]
    held = 0
    for row in rows:
        groups[-1].append(row)
        labels = row.get("labels")
        of_tokens = labels is not None and labels.shape == row["input_ids"].shape
        held += int((labels != IGNORE).sum()) if supervised_only and of_tokens else row["input_ids"].numel()
        if held >= least:
            groups.append([])
            held = 0
    if len(groups) == 1:
        raise ValueError(f"they have {held} positions, and r * rho = {least} directions want as many")
    return [padded(group) for group in groups[:-1]]


def padded(rows: list[Batch]) -> dict[str, Tensor]:
    """Rows of one batch each, side by side; labels only where each token has one."""
    fillers = {key: 0 for key in MODEL_INPUTS if key in rows[0]}
    if "labels" in rows[0] and rows[0]["labels"].shape == rows[0]["input_ids"].shape:
        fillers["labels"] = IGNORE
    stack = torch.nn.utils.rnn.pad_sequence
    return {key: stack([row[key][0] for row in rows], True, filler) for key, filler in fillers.items()}
