"""Prompt tuning through PEFT (Lester, Al-Rfou and Constant, EMNLP 2021, arXiv:2104.08691)."""

from peft import PeftConfig, PromptTuningConfig, PromptTuningInit
from transformers import PreTrainedModel

from ...contracts.errors import UserError
from .peft_prompt_learning import PeftPromptLearning

OWN = "base"
"""Stands in ``tokenizer_name_or_path`` for the tokenizer of the base."""


class PeftPromptTuning(PeftPromptLearning):
    """y = f([P; E(x)]): n trained vectors P [n, d] before the embedded tokens of each row (of the encoder's row, where
    there is a decoder); n d parameters.

    Starts from random vectors (RANDOM: the slowest by far), from n random rows of the embedding (SAMPLE_VOCAB), or from
    those of a text (TEXT), which is read by the tokenizer of the base: ``tokenizer_name_or_path: base``.

    Hurts small bases: close to full fine-tuning only from some ten billion weights on, and wants a learning rate about
    a hundred times that of LoRA (0.3 in the paper).
    """

    def configured(self, backbone: PreTrainedModel) -> PeftConfig:
        config = super().configured(backbone)
        assert isinstance(config, PromptTuningConfig)
        if config.num_transformer_submodules is None:
            config.num_transformer_submodules = 1  # PEFT would make a second prompt for the decoder and never read it
        if config.prompt_tuning_init == PromptTuningInit.TEXT:
            if config.tokenizer_name_or_path not in (OWN, backbone.name_or_path):
                raise UserError(
                    f"model.adapter: {type(config).__name__} reads its text with the tokenizer "
                    f"{config.tokenizer_name_or_path!r}, and the ids of another tokenizer than the base's mean nothing "
                    f"to it. Set tokenizer_name_or_path: {OWN}."
                )
            config.tokenizer_name_or_path = backbone.name_or_path
        return config
