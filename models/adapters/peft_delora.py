"""DeLoRA (Bini et al., ICLR 2025, arXiv:2503.18225): low-rank updates of a bounded norm."""

from torch import nn

from .peft import Peft


class PeftDelora(Peft):
    """W' = W + (lambda / r) sum_i b_i a_i^T / (|b_i| |a_i|) |W|, |W| by column; trains r (d + k) + 1 of [d, k].

    Only the directions of a_i and b_i count, once b_i has left zero: weight decay would change no function, shorten
    them until they are clamped, and raise the effective learning rate on the way. They are never decayed.
    """

    def undecayed(self, model: nn.Module) -> set[int]:
        return {id(p) for p in model.parameters() if p.requires_grad}
