"""Bottleneck adapters: Houlsby et al., ICML 2019, arXiv:1902.00751; Pfeiffer et al., EACL 2021, arXiv:2005.00247;
the parallel form of He et al., ICLR 2022, arXiv:2110.04366."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from torch import Tensor, nn
from transformers import PreTrainedModel

from ...contracts.errors import UserError
from .adapter import Adapter
from .structure import Sublayer, stacks, sublayers

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "swish": nn.SiLU, "tanh": nn.Tanh}
Placement = Literal["houlsby", "pfeiffer", "parallel"]


class DownUp(nn.Module):
    """``y + s * (U f(D x + d) + u)``, in float32; equal to y at the start, since U and u are zero.

    Args:
        width: H, of x and y [..., H].
        bottleneck: m, of what lies between.
        activation: f.
        scale: s.
    """

    def __init__(self, width: int, bottleneck: int, activation: str, scale: float) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        self.activation, self.scale, self.active = ACTIVATIONS[activation](), scale, True
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.read: Tensor | None = None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.active:
            return y
        change = self.up(self.activation(self.down(x.to(self.down.weight.dtype))))
        return y + (self.scale * change).to(y.dtype)

    def keep(self, reader: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Before the FFN's first layer: what a parallel adapter reads."""
        self.read = inputs[0]

    def after(self, writer: nn.Module, inputs: tuple[Any, ...], y: Tensor) -> Tensor:
        """After a sublayer's last layer; a sequential adapter reads what that layer wrote."""
        x, self.read = self.read, None
        return self(y if x is None else x, y)


class Bottleneck(Adapter):
    """A narrow two-layer network beside or behind sublayers of every block; the base is frozen.

    ``h + U f(D h + d) + u`` on the output h of a sublayer, before it joins the residual stream (and before that
    sublayer's dropout and the norm behind it, where a family has one there), or beside the FFN: ``FFN(x) + s (U f(D x +
    d) + u)``. With H the width, m the bottleneck and s the scale (which sequential placements take as well):

    - ``houlsby``: behind every attention (a decoder that reads an encoder has two) and behind the FFN;
    - ``pfeiffer``: behind the FFN alone;
    - ``parallel``: beside the FFN, on what the FFN reads.

    Trained: ``n (2 H m + m + H)`` for n places: 2 L, L and L of L blocks, and 3 L behind every sublayer of a decoder
    with cross attention. Cost: two small matrix products a place, one after the other, which cannot be merged into the
    base and so stay at inference; gradients travel through every block, as with LoRA. No norm of the base trains, while
    Houlsby's own code trains them too.

    D starts as torch's own (He et al. do the same), U, u and d at zero: exactly the base at step 0, where Houlsby's
    truncated normal is near it only. ``off`` is that base at any time. Weight decay shrinks D and U and so pulls
    towards the base; the biases are left alone.

    Published settings: Houlsby reduction 16 with swish at a learning rate of 3e-4 for BERT; Pfeiffer reduction 16 with
    relu; parallel reduction 2 with relu and scale 4 (adapter-hub's configurations of these names). Hurts at inference
    through the added latency; with few rows a wide bottleneck overfits as any new layer does.

    Args:
        placement: where.
        reduction: m is H divided by this, and at least 1.
        width: m itself, in place of ``reduction``.
        activation: relu, gelu, swish or tanh.
        scale: s; 0 leaves the base's function, with nothing to learn.

    Raises:
        UserError: the blocks cannot be read as attentions and one FFN (mixtures of experts, state-space models).
    """

    def __init__(
        self,
        placement: Placement = "pfeiffer",
        reduction: float = 16,
        width: int | None = None,
        activation: Literal["relu", "gelu", "swish", "tanh"] = "relu",
        scale: float = 1.0,
    ) -> None:
        if reduction <= 0 or (width is not None and width < 1):
            raise UserError(
                f"model.adapter: Bottleneck got reduction={reduction} and width={width}; reduction is a positive "
                "divisor of the base's width, and width, which takes its place, a number of units."
            )
        self.placement, self.reduction, self.width = placement, reduction, width
        self.activation, self.scale = activation, scale

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        width = backbone.config.get_text_config().hidden_size
        found = [sublayers(block, width) for blocks in stacks(backbone).values() for block in blocks]
        if not found or not all(found):
            raise UserError(
                f"model.adapter: Bottleneck stands behind the attention and the feed-forward network of every block, "
                f"and {type(backbone).__name__} has blocks in which one of each cannot be told (mixtures of experts, "
                "state-space models and attentions without linear layers are such). Choose peft.LoraConfig, or "
                "finelab.models.adapters.TopLayers."
            )
        backbone.requires_grad_(False)
        for sublayer in (one for block in found for one in block):
            if self.placement == "houlsby" or not sublayer.is_attention:
                self.insert(sublayer, width)
        return backbone

    def insert(self, sublayer: Sublayer, width: int) -> None:
        bottleneck = self.width or max(1, round(width / self.reduction))
        added = DownUp(width, bottleneck, self.activation, self.scale)
        added.to(next(sublayer.writer.parameters()).device)
        sublayer.writer.add_module("bottleneck", added)
        sublayer.writer.register_forward_hook(added.after)
        if self.placement == "parallel":
            sublayer.reader.register_forward_pre_hook(added.keep)

    @property
    def base_is(self) -> Literal["off"]:
        return "off"

    @contextmanager
    def off(self, model: nn.Module) -> Iterator[None]:
        added = [module for module in model.modules() if isinstance(module, DownUp)]
        for module in added:
            module.active = False
        try:
            yield
        finally:
            for module in added:
                module.active = True

    @property
    def merges(self) -> bool:
        return False

    def merge(self, model: nn.Module) -> PreTrainedModel:
        raise UserError(
            "model.adapter: Bottleneck cannot be merged: its activation stands between two layers, so no weight of the "
            "base does what it does. Keep the checkpoint folder as it is, or train peft.LoraConfig, which merges."
        )
