"""Full fine-tuning: the reference that cheaper adapters are compared with."""

from torch import nn
from transformers import PreTrainedModel

from .adapter import Adapter


class Full(Adapter):
    """Every pretrained weight trains: ``theta = theta_0 + delta`` without any bound on delta.

    Trained: all P parameters, tied ones once. Cost: one forward and one backward of about twice its price; gradients
    and, with Adam, two more copies of the model.

    The update stands in the base's own weights: it is merged as it stands, and the base is found with the weights of
    the start, of which a copy is kept where a method reads the base. Weight decay pulls the matrices to zero, not to
    the base (``L2SP`` pulls to the base).

    Hurts with few rows or a high rate, where it forgets what the base knew; in bfloat16 weights small updates are lost.
    """

    @property
    def shards(self) -> bool:
        return True

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        return backbone.requires_grad_(True)
