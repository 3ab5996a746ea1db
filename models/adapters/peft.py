"""The bridge to Hugging Face PEFT: any ``peft.PeftConfig`` as it is (github.com/huggingface/peft)."""

import copy
from pathlib import Path

from peft import PeftConfig, PeftModel, get_peft_model, load_peft_weights, set_peft_model_state_dict
from torch import nn
from transformers import PreTrainedModel

from ...contracts.errors import UserError
from .adapter import Adapter


class Peft(Adapter):
    """Wraps a backbone in the PEFT method that a configuration describes, and saves PEFT's own folder format.

    Args:
        config: e.g. ``peft.LoraConfig``; it is copied, since PEFT writes into it.
    """

    def __init__(self, config: PeftConfig) -> None:
        self.config = config

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        try:
            model = get_peft_model(backbone, copy.deepcopy(self.config))
        except ValueError as error:
            raise UserError(
                f"model.adapter: {type(self.config).__name__} does not fit {type(backbone).__name__}: {error}"
            ) from error
        if not any(p.requires_grad for p in model.parameters()):
            raise UserError(
                f"model.adapter: {type(self.config).__name__} left nothing to train in {type(backbone).__name__}; "
                "check its target_modules."
            )
        return model

    def save(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, PeftModel)
        model.save_pretrained(str(folder))

    def load(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, PeftModel)
        if not (folder / "adapter_model.safetensors").is_file():
            raise UserError(f"{folder} holds no adapter_model.safetensors; only safetensors are read, never pickles.")
        result = set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"))
        if result.unexpected_keys:
            raise UserError(
                f"{folder} was written by another adapter: {len(result.unexpected_keys)} of its tensors have no place "
                f"here, {result.unexpected_keys[0]!r} first. Load it with the config.yaml of its own run."
            )


def as_adapter(adapter: Adapter | PeftConfig) -> Adapter:
    """What may stand in ``model.adapter``: an adapter of ours, or any PEFT configuration."""
    return Peft(adapter) if isinstance(adapter, PeftConfig) else adapter
