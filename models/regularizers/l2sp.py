"""L2-SP: a pull towards the pretrained weights (Li, Grandvalet and Davoine, ICML 2018, arXiv:1802.01483)."""

import torch
from torch import Tensor, nn

from .low_rank import products_of
from .regularizer import Fresh, Regularizer, Term


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
