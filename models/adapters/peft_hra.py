"""Householder reflection adaptation (Yuan et al., 2024, arXiv:2405.17484)."""

from torch import nn

from .peft import Peft


class PeftHra(Peft):
    """W' = W H_1 ... H_r with H_i = I - 2 u_i u_i^T / |u_i|^2; trains r k of a [d, k] weight.

    Only the directions of u_i count: weight decay would change no function, shorten them until they are undefined, and
    raise the effective learning rate on the way. They are never decayed.
    """

    def undecayed(self, model: nn.Module) -> set[int]:
        return {id(p) for p in model.parameters() if p.requires_grad}
