"""Linear probing: the backbone is frozen and only the new head trains (Alain and Bengio, 2016, arXiv:1610.01644).

Costs one forward and next to no backward. Hurts where the pretrained features do not separate the classes; cannot
overfit by moving features, which makes it the sober baseline of every other adapter.
"""

from torch import nn
from transformers import PreTrainedModel

from .adapter import Adapter


class LinearProbe(Adapter):
    """Trains nothing of the backbone; refused for targets without a head of their own."""

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        return backbone.requires_grad_(False)
