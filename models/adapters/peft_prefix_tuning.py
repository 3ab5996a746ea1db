"""Prefix tuning through PEFT (Li and Liang, ACL 2021, arXiv:2101.00190)."""

from pathlib import Path

from peft import CartridgeConfig, PeftModel, PrefixTuningConfig
from torch import nn
from transformers import PreTrainedModel

from .adapter import Adapter
from .peft_prompt_learning import PeftPromptLearning, takes


class PeftPrefixTuning(PeftPromptLearning):
    """Attention of every layer also sees n trained keys and values, handed over as a cache: 2 n L d_kv parameters,
    d_kv the width of all key heads. No output is longer than its row.

    ``prefix_projection`` computes them from n vectors of width d_kv through an MLP of width h:
    n d_kv + d_kv h + h + 2 L d_kv (h + 1) parameters. PEFT keeps only what it computed; the folder therefore holds
    every trained weight as well, which is what is read back here.

    ``init_weights: zero`` starts from keys and values of zero. That is not the base either: a key of zero takes part
    in the softmax. The random default starts far away and trains badly; prefer zero.

    Refused together with activation checkpointing (which allows no cache) and over encoders that take none.
    """

    @property
    def virtual_tokens(self) -> int:
        return 0

    def misfit(self, backbone: PreTrainedModel) -> str | None:
        if not takes(backbone, "past_key_values"):
            return (
                f"hands its prompt over as a cache of keys and values, and {type(backbone).__name__} takes none. "
                "Use peft.PromptTuningConfig or peft.PromptEncoderConfig, or another base."
            )
        if any(vars(part).get("gradient_checkpointing") for part in backbone.modules()):
            return (
                "hands its prompt over as a cache of keys and values, which activation checkpointing does not allow. "
                "Set model.loading.gradient_checkpointing: false, or use peft.PromptTuningConfig."
            )
        return None

    def save(self, model: nn.Module, folder: Path) -> None:
        super().save(model, folder)
        if self.projects:
            Adapter.save(self, model, folder)

    def load(self, model: nn.Module, folder: Path) -> None:
        if not self.projects:
            return super().load(model, folder)
        assert isinstance(model, PeftModel)
        self.require_same(model, folder)
        Adapter.load(self, model, folder)

    @property
    def projects(self) -> bool:
        assert isinstance(self.config, PrefixTuningConfig | CartridgeConfig)
        return isinstance(self.config, PrefixTuningConfig) and self.config.prefix_projection
