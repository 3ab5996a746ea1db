"""Orthogonal subspace fine-tuning (Nayak et al., 2025, arXiv:2504.07097)."""

from torch import nn

from .peft import Peft


class PeftOsf(Peft):
    """W = U_h S_h V_h + U_l S_l V_l; the high part is frozen, the low part trains orthogonally to it.

    The trained part starts as the small singular directions of W itself, which weight decay would erase: it is never
    decayed. Trains k (d + k' + 1) of a [d, k'] weight, where k is what ``effective_rank`` leaves.
    """

    def undecayed(self, model: nn.Module) -> set[int]:
        return {id(p) for p in model.parameters() if p.requires_grad}
