"""GLoRA: weights and biases, scaled and shifted (Chavan et al., 2023, arXiv:2306.07967)."""

from collections.abc import Mapping

from peft.tuners.glora import GloraLayer
from torch import Tensor, nn

from .peft import Peft


class PeftGlora(Peft):
    """PEFT's forward tells the whole story but for one part: D scales a layer's bias, and where that is zero it does
    nothing and gets no gradient."""

    def idle(self, model: nn.Module) -> Mapping[str, str]:
        layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, GloraLayer)]
        return {f"{name}.glora_D": "the layer's bias is zero" for name, layer in layers if has_zero_bias(layer)}


def has_zero_bias(layer: GloraLayer) -> bool:
    bias = layer.get_base_layer().bias
    return isinstance(bias, Tensor) and not bool(bias.any())
