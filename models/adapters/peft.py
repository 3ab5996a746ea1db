"""The bridge to Hugging Face PEFT: any ``peft.PeftConfig`` as it is (github.com/huggingface/peft)."""

import copy
import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from peft import (
    AdaLoraConfig,
    PeftConfig,
    PeftModel,
    PeftType,
    TaskType,
    get_peft_model,
    load_peft_weights,
    set_peft_model_state_dict,
)
from torch import nn
from transformers import PreTrainedModel

from ...contracts.errors import UserError
from .adapter import Adapter

REFUSED: dict[type[PeftConfig], str] = {
    AdaLoraConfig: "allocates ranks from a call in the training loop and hides a loss, and neither is driven yet, "
    "so it would train as plain LoRA.",
}

UNSHAPELY = {
    "inference_mode",
    "base_model_name_or_path",
    "revision",
    "auto_mapping",
    "peft_version",
    "tokenizer_name_or_path",
}
"""Keys of adapter_config.json that say nothing about the weights' shape or use."""


class Peft(Adapter):
    """Wraps a backbone in the PEFT method that a configuration describes, and saves PEFT's own folder format.

    A tuner that needs more than that has a subclass in ``peft_<peft_type>.py``, where ``as_adapter`` finds it.

    Args:
        config: e.g. ``peft.LoraConfig``; it is copied, since PEFT writes into it, and given the backbone's task type
            where it has none.

    Raises:
        UserError: one of ``REFUSED``.
    """

    def __init__(self, config: PeftConfig) -> None:
        if reason := REFUSED.get(type(config)):
            raise UserError(f"model.adapter: {type(config).__name__} {reason} Choose another, e.g. peft.LoraConfig.")
        self.config = config

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        config = self.configured(backbone)
        try:
            model = get_peft_model(backbone, config)
        except (ValueError, KeyError, AttributeError, RuntimeError) as error:
            raise UserError(
                f"model.adapter: {type(config).__name__} does not fit {type(backbone).__name__}: {error}"
            ) from error
        if not any(p.requires_grad for p in model.parameters()):
            raise UserError(
                f"model.adapter: {type(config).__name__} left nothing to train in {type(backbone).__name__}; "
                "check its target_modules."
            )
        return model

    def configured(self, backbone: PreTrainedModel) -> PeftConfig:
        """A copy of the configuration with what the base decides filled in."""
        config = copy.deepcopy(self.config)
        if config.task_type is None:
            config.task_type = task_of(backbone)
        return config

    def save(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, PeftModel)
        model.save_pretrained(str(folder))

    def load(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, PeftModel)
        self.require_same(model, folder)
        set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"))

    def require_same(self, model: PeftModel, folder: Path) -> None:
        """Raises:
        UserError: the folder holds no PEFT adapter, or one of another configuration.
        """
        if not (folder / "adapter_model.safetensors").is_file():
            raise UserError(f"{folder} holds no adapter_model.safetensors; only safetensors are read, never pickles.")
        stored = comparable(json.loads((folder / "adapter_config.json").read_text()))
        wanted = comparable(model.active_peft_config.to_dict())
        for key in sorted(stored.keys() & wanted.keys()):
            if stored[key] != wanted[key]:
                raise UserError(
                    f"{folder} was written by another adapter: its {key} is {stored[key]!r} and this one's is "
                    f"{wanted[key]!r}. Load it with the config.yaml of its own run."
                )


def task_of(backbone: PreTrainedModel) -> TaskType:
    if backbone.get_output_embeddings() is None:
        return TaskType.FEATURE_EXTRACTION
    return TaskType.SEQ_2_SEQ_LM if backbone.config.is_encoder_decoder else TaskType.CAUSAL_LM


def comparable(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as JSON has it, with sets and lists, whose order says nothing, as sorted text."""
    return {
        key: sorted(map(str, value)) if isinstance(value, set | list | tuple) else json.loads(json.dumps(value))
        for key, value in config.items()
        if key not in UNSHAPELY
    }


def as_adapter(adapter: Adapter | PeftConfig) -> Adapter:
    """What may stand in ``model.adapter``: an adapter of ours, or any PEFT configuration."""
    return bridge_of(adapter)(adapter) if isinstance(adapter, PeftConfig) else adapter


def bridge_of(config: PeftConfig) -> type[Peft]:
    """The class in ``peft_<peft_type>.py``; ``Peft`` itself where there is no such file."""
    name = f"{__package__}.peft_{PeftType(config.peft_type).value.lower()}"
    if importlib.util.find_spec(name) is None:
        return Peft
    own = vars(importlib.import_module(name)).values()
    return next(c for c in own if isinstance(c, type) and issubclass(c, Peft) and c.__module__ == name)
