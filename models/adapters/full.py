"""Full fine-tuning: every pretrained weight trains. About three forwards' worth of compute a step, and an optimizer
state of the model's size; the reference that cheaper adapters are compared with."""

from torch import nn
from transformers import PreTrainedModel

from .adapter import Adapter


class Full(Adapter):
    """Trains everything."""

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        return backbone.requires_grad_(True)
