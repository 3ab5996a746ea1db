"""X-LoRA: trained LoRA adapters mixed per token by a small classifier (Buehler and Buehler, 2024, arXiv:2402.07148)."""

from pathlib import Path

from peft import TaskType, XLoraConfig
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from ...contracts.errors import UserError
from .peft import WEIGHTS_FILE, Peft, task_of

CLASSIFIER = "internal_xlora_classifier"


class PeftXlora(Peft):
    """h = W x + sum_i g_i(x) s_i B_i A_i x, where the gates g are read from the base's last hidden state.

    Trains the classifier of the gates only; ``XLoraConfig.adapters`` names folders of LoRA adapters, ``"0"``, ``"1"``
    and so on, which stay where they are: the folder saved here refers to them. Step 0 is a mixture of them and not the
    base; switched off it is the base. Depends on the input: does not merge. Cost: a second forward without a gradient.
    Weight decay pulls to equal gates.

    Raises:
        UserError: experts that train, which PEFT does not save; ``adapt``: anything but a causal language model,
            or recomputed activations.
    """

    config: XLoraConfig
    required = ("adapters",)

    def __init__(self, config: XLoraConfig) -> None:
        if config.use_trainable_adapters:
            raise UserError(
                "model.adapter: XLoraConfig.use_trainable_adapters trains the experts, and PEFT saves only the "
                "classifier over them. Set it to False, and train the experts beforehand with peft.LoraConfig."
            )
        super().__init__(config)

    @property
    def merges(self) -> bool:
        return False

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        if task_of(backbone) != TaskType.CAUSAL_LM:
            raise UserError(
                f"model.adapter: XLoraConfig cannot work with {type(backbone).__name__}: PEFT reads the experts' files "
                "and shares one gate a token over all layers as a causal language model needs it. Choose CausalLM, or "
                "peft.LoraConfig."
            )
        if backbone.is_activation_checkpointing:
            raise UserError(
                "model.loading.gradient_checkpointing: XLoraConfig cannot train with recomputed activations: PEFT "
                "hands the gates to the layers during the first forward only. Set it to False."
            )
        return super().adapt(backbone)

    def save(self, model: nn.Module, folder: Path) -> None:
        """PEFT takes ``layers.0`` of the classifier for a part of the expert named 0 and leaves it out."""
        super().save(model, folder)
        state = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if CLASSIFIER in name}
        save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})
