"""LoRA updates as products of two factors: what the methods share that act on effective weights."""

from typing import cast

import torch
from peft.tuners.lora import LoraLayer, ParamWrapper
from torch import Tensor, nn


def low_rank_square(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Squared Frobenius norm of ``scale * b @ a`` without forming the product: ``tr((B'B)(AA'))``, O(r^2 (d + k)).

    Args:
        a: [r, k]; b: [d, r].
    """
    return scale**2 * ((b.T @ b) * (a @ a.T)).sum()


class Product:
    """One LoRA update ``scale * b @ a``, and where it started.

    Args:
        a: [r, k]; b: [d, r].
    """

    def __init__(self, a: nn.Parameter, b: nn.Parameter, scale: float) -> None:
        self.a, self.b, self.scale = a, b, scale
        self.start = (a.detach().clone(), -b.detach()) if bool(a.any()) and bool(b.any()) else None

    def square_moved(self) -> Tensor:
        """``|scale (b a - b_0 a_0)|^2``, the start appended as further ranks with the opposite sign."""
        a, b = self.a.float(), self.b.float()
        if self.start is not None:
            start_a, start_b = (part.to(a) for part in self.start)
            a, b = torch.cat([a, start_a]), torch.cat([b, start_b], dim=1)
        return low_rank_square(a, b, self.scale)


def products_of(layer: nn.Module) -> list[Product]:
    """The updates of a LoRA layer over a linear layer or an embedding; none for any other module. AdaLoRA's have a
    third factor, and those of ``target_parameters`` hold all experts in one pair, whose product is not their update."""
    if not isinstance(layer, LoraLayer) or isinstance(layer, ParamWrapper):
        return []
    linear = {name: a for name, a in layer.lora_A.items() if isinstance(a, nn.Linear)}
    pairs = {name: (a.weight, layer.lora_B[name].weight) for name, a in linear.items()}
    pairs |= {name: (a, layer.lora_embedding_B[name]) for name, a in layer.lora_embedding_A.items()}
    return [Product(cast(nn.Parameter, a), cast(nn.Parameter, b), layer.scaling[n]) for n, (a, b) in pairs.items()]
