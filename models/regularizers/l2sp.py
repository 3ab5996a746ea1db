"""L2-SP: a pull towards the pretrained weights (Li, Grandvalet and Davoine, ICML 2018, arXiv:1802.01483)."""

from typing import cast

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from .regularizer import Fresh, Regularizer, Term


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
    """The updates of a LoRA layer over a linear layer or an embedding; none for any other module."""
    if not isinstance(layer, LoraLayer):
        return []
    pairs = {name: (a.weight, layer.lora_B[name].weight) for name, a in layer.lora_A.items()}
    pairs |= {name: (a, layer.lora_embedding_B[name]) for name, a in layer.lora_embedding_A.items()}
    return [Product(cast(nn.Parameter, a), cast(nn.Parameter, b), layer.scaling[n]) for n, (a, b) in pairs.items()]


class L2SP(Regularizer):
    """Objective: weight/2 |theta - theta_0|^2 over pretrained weights + head_weight/2 |theta_new|^2 over a new head.

    On LoRA the factors themselves have no meaningful anchor (A starts random, B at zero); there the distance is that
    of the effective weights, ``|s B A|^2``, which is the same statement about the function. Inits whose product does
    not start at zero (PiSSA, OLoRA) are measured from that start, since the residual weight makes up for it. Everything
    else that trains (all weights, biases, norms, DoRA's magnitudes, the factors of other low-rank adapters) is anchored
    at its value at the start, in float32.

    Cost: no forward, one copy of the trainable pretrained weights (none for LoRA from zero). Does nothing at the first
    step, and next to nothing where learning rate x weight x steps is far below 1: sweep the weight on a log grid.

    Args:
        weight: alpha; the authors' code uses 0.01 to 0.1. 0 turns it off.
        head_weight: beta, for weights without a pretrained value; None means the same as weight.
    """

    def __init__(self, weight: float = 0.01, head_weight: float | None = None) -> None:
        self.weight = weight
        self.head_weight = weight if head_weight is None else head_weight

    def attach(self, model: nn.Module) -> None:
        self.products = [product for layer in model.modules() for product in products_of(layer)]
        heads = [module for module in model.modules() if isinstance(module, Fresh)]
        self.fresh = [p for head in heads for p in head.parameters() if p.requires_grad]
        known = {id(p) for product in self.products for p in (product.a, product.b)} | {id(p) for p in self.fresh}
        trained = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
        self.anchored = [(p, p.detach().float().clone()) for p in trained]

    def parameter_term(self) -> Term | None:
        if not self.weight and not self.head_weight:
            return None
        pretrained = [(p.float() - anchor.to(p.device)).square().sum() for p, anchor in self.anchored]
        pretrained += [product.square_moved() for product in self.products]
        new = [p.float().square().sum() for p in self.fresh]
        distance, size = total(pretrained), total(new)
        return Term(0.5 * self.weight * distance + 0.5 * self.head_weight * size, 0.5 * distance)


def total(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum() if terms else torch.zeros(())
