"""Only the norms train (Zhao et al., ICLR 2024, arXiv:2312.11420; Qi et al., 2022, arXiv:2211.08682)."""

from torch import nn
from transformers import PreTrainedModel

from ...contracts.errors import UserError
from .adapter import Adapter
from .structure import is_norm


class NormTuning(Adapter):
    """``y = g * normalised(x) + b`` with g, and b where there is one, trained in every norm; and a new head.

    A norm is one of torch's, or of a class called ...Norm. Trained, with H the width and L blocks: ``2 H (2 L + 1)``
    for a BERT (gains and biases), ``H (2 L + 1)`` for a Llama (gains alone), ``H (2 L + 1)`` for a T5's encoder and ``H
    (3 L + 1)`` for its decoder. Cost: the gradient travels through every block, so a step takes about as long as with
    LoRA; gradients and optimizer state are next to nothing. It needs a learning rate far above 1e-4, such as 1e-3 to
    1e-2.

    The update stands in the base's own weights: it is merged as it stands, and the base is found with the gains of the
    start, not by turning anything off. Gains start near one and weight decay would silence the layer, so norms are
    never decayed.

    Hurts where the task needs features that the base does not compute: a gain can only weigh those that are there.
    """

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        backbone.requires_grad_(False)
        trained = [p for module in backbone.modules() if is_norm(module) for p in module.parameters()]
        if not trained:
            raise UserError(
                f"model.adapter: NormTuning finds no norm with weights in {type(backbone).__name__}; choose "
                "peft.LoraConfig, or finelab.models.adapters.Full."
            )
        for parameter in trained:
            parameter.requires_grad_(True)
        return backbone
