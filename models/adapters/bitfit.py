"""BitFit: only the biases train (Ben Zaken, Ravfogel and Goldberg, ACL 2022, arXiv:2106.10199)."""

from torch import nn
from transformers import PreTrainedModel

from ...contracts.errors import UserError
from .adapter import Adapter


class BitFit(Adapter):
    """``y = W x + b`` with W frozen and b trained, in every linear layer and norm that has a bias; and a new head.

    Trained, with H the width, I the FFN's and L blocks: ``L (7 H + I) + H`` for a BERT without its pooling layer
    (query, key, value, both output layers, the FFN's inner layer and two norms a block; the embedding's norm). Less
    than a thousandth of the model. Cost: the gradient still travels through every block, so a step takes about as long
    as with LoRA; gradients and optimizer state are those of the biases alone. Learning rates are about a hundred times
    those of full fine-tuning: the authors' examples use 1e-3 beside 1e-5.

    The update stands in the base's own weights: it is merged as it stands, and the base is found with the biases of the
    start, not by turning anything off. Weight decay leaves biases alone, so it does nothing but to a new head.

    Hurts where the task needs other features than the base computes: a bias shifts every token by the same vector.
    Refused where there is none, as in Llama and T5.
    """

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        backbone.requires_grad_(False)
        biases = [p for name, p in backbone.named_parameters() if name.endswith((".bias", "_bias"))]
        if not biases:
            raise UserError(
                f"model.adapter: BitFit trains biases, and {type(backbone).__name__} has none. Choose NormTuning "
                "(finelab.models.adapters.NormTuning), which trains the norms' gains, or peft.LoraConfig."
            )
        for bias in biases:
            bias.requires_grad_(True)
        return backbone
