"""LoRA+: the factor that starts at zero learns faster (Hayou, Ghosh and Yu, ICML 2024, arXiv:2402.12354)."""

import math

from torch import nn

from ..contracts.errors import UserError
from .learning_rate import LearningRate

FACTORS = ("lora_B", "lora_embedding_B")


class LoraPlus(LearningRate):
    """Rate ``ratio eta`` for every LoRA factor B, with the bias that ``lora_bias`` gives it, and ``eta`` for everything
    else (A, heads, the base's biases). AdaLoRA's B is among them, although it starts at random there and E at zero: the
    argument below is not about it.

    In a wide model A and B need rates of different orders to move the features efficiently; one rate for both is too
    low for B. No cost. The authors' code advises a larger ratio for harder tasks, together with about half the rate
    that plain LoRA would have, and shows 20. Their separate rate of LoRA on embeddings is not part of this.

    Hurts where the rate is already as high as B can take: lower it when adding this.

    Args:
        ratio: lambda >= 1; 16 is what others quote from the paper. 1 turns it off.

    Raises:
        UserError: the ratio is below 1, or nothing of the model is a LoRA factor.
    """

    def __init__(self, ratio: float = 16.0) -> None:
        if not 1 <= ratio < math.inf:
            raise UserError(
                f"model.learning_rates: LoraPlus got ratio={ratio}; it says how many times faster B learns than A and "
                "is at least 1, e.g. 16."
            )
        self.ratio = ratio

    def multipliers(self, model: nn.Module) -> dict[str, float]:
        if self.ratio == 1:
            return {}
        found = [name for name, p in model.named_parameters() if p.requires_grad and is_b_factor(name)]
        if not found:
            raise UserError(
                f"model.learning_rates: LoraPlus(ratio={self.ratio}) hits nothing: the model trains no LoRA factor B. "
                "Remove it, or set model.adapter to peft.LoraConfig."
            )
        return dict.fromkeys(found, self.ratio)


def is_b_factor(name: str) -> bool:
    return any(part in FACTORS for part in name.split("."))
