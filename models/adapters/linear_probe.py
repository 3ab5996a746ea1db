"""Linear probing: only a new head trains (Alain and Bengio, 2016, arXiv:1610.01644)."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

from torch import nn
from transformers import PreTrainedModel

from .adapter import Adapter


class LinearProbe(Adapter):
    """``logits = W h(x) + b`` on frozen features h; the backbone's dropout stays on, as for every adapter.

    Trained: nothing of the backbone, and the head's ``C (H + 1)`` for C outputs and width H; refused for targets
    without a head of their own. Cost: one forward and next to no backward.

    Merged as it stands, since nothing has changed; the adapted model is the base, on or off. Weight decay acts on the
    head's matrix alone. Hurts where the pretrained features do not separate the classes; cannot overfit by moving them,
    which makes it the sober baseline of every other adapter.
    """

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        return backbone.requires_grad_(False)

    @property
    def base_is(self) -> Literal["off"]:
        return "off"

    def off(self, model: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()
