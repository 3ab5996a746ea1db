"""The two terms of KaSA (Wang et al., 2024, arXiv:2412.06071, equations 9 to 12)."""

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from ..regularizers.regularizer import Regularizer, Term


class Kasa(Regularizer):
    """beta * sum of squares of the trained singular values + gamma * sum of |B^T B - I|_F + |A A^T - I|_F, over layers.

    The second keeps A and B near orthonormal, without which the diagonal between them is no spectrum. PEFT computes
    both in ``LoraModel._get_kasa_loss`` and leaves adding them to the user. Shown is the weighted sum. Cost: O(r^2) per
    row and column of each layer, once an optimizer step.

    Args:
        beta, gamma: 1e-4 and 1e-3 in PEFT, the authors' values for GLUE. Both 0 turn it off.
    """

    def __init__(self, beta: float, gamma: float) -> None:
        self.beta, self.gamma = beta, gamma

    def attach(self, model: nn.Module) -> None:
        self.factors: list[tuple[Any, Any, Any]] = []
        for layer in model.modules():
            if isinstance(layer, LoraLayer):
                diagonals: Any = dict(layer.named_children()).get("lora_diag", {})
                self.factors += [(layer.lora_A[n].weight, d, layer.lora_B[n].weight) for n, d in diagonals.items()]

    def parameter_term(self) -> Term | None:
        if not self.beta and not self.gamma:
            return None
        squares = torch.stack([diagonal.float().square().sum() for _, diagonal, _ in self.factors]).sum()
        grams = [a.float() @ a.float().T for a, _, _ in self.factors]
        grams += [b.float().T @ b.float() for _, _, b in self.factors]
        eye = torch.eye(len(grams[0]), device=squares.device)
        distances = torch.stack([torch.linalg.matrix_norm(gram - eye) for gram in grams]).sum()
        value = self.beta * squares + self.gamma * distances
        return Term(value, value.detach())
