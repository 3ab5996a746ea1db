"""P-tuning through PEFT (Liu et al., arXiv:2103.10385)."""

from pathlib import Path

from peft import PeftConfig, PeftModel, PromptEncoderConfig
from torch import nn
from transformers import PreTrainedModel

from .adapter import Adapter
from .peft_prompt_learning import PeftPromptLearning


class PeftPTuning(PeftPromptLearning):
    """y = f([g(P); E(x)]): the prompt is computed from n trained vectors by a small network g, for smoother training.

    With width h (``encoder_hidden_size``, by default d) n d + d h + h + h^2 + h + h d + d parameters for the MLP; the
    LSTM has more. Hurts where it does nothing more than prompt tuning with so many more weights.

    PEFT keeps what the network computed, which is all that using the prompt needs, and forgets the network. The folder
    therefore holds both: PEFT's own files, and every trained weight, which is what is read back here.
    """

    def configured(self, backbone: PreTrainedModel) -> PeftConfig:
        config = super().configured(backbone)
        assert isinstance(config, PromptEncoderConfig)
        if config.num_transformer_submodules is None:
            config.num_transformer_submodules = 1  # PEFT would make a second prompt for the decoder and never read it
        return config

    def save(self, model: nn.Module, folder: Path) -> None:
        super().save(model, folder)
        Adapter.save(self, model, folder)

    def load(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, PeftModel)
        self.require_same(model, folder)
        Adapter.load(self, model, folder)
