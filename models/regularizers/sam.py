"""SAM and ASAM: the gradient at the worst point nearby (Foret et al., ICLR 2021, arXiv:2010.01412; Kwon et al.,
ICML 2021, arXiv:2102.11600; on language models Bahri, Mobahi and Tay, ACL 2022, arXiv:2110.08529)."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ...contracts.errors import UserError
from .regularizer import Regularizer, Replay

TINY = 1e-12
"""Below this a gradient's norm is no direction."""


class SAM(Regularizer):
    """Moves along grad J(w + eps), with eps = rho g / |g| and g = grad J(w); ASAM: eps = rho T^2 g / |T g|.

    J is the objective of the whole optimizer step, over its micro-batches and ranks, with the terms of every method
    and the gradient shaping of those before it in the list; both gradients see the same dropout masks. The norm is
    that of the whole gradient over all trainable weights, a tied weight once, so that eps does not depend on the split
    into micro-batches. (The authors' code takes one eps a replica; eps of one micro-batch each is another method.) Only
    the second gradient is clipped. T is |w| + eta for parameters whose name holds "weight" and 1 for others, as in
    ASAM's code. ``reg/SAM`` is the sharpness J(w + eps) - J(w), in nats.

    On LoRA eps lives in the factors: at the start A has no gradient and all of eps is on B, so that the update is only
    perturbed within the rows that A spans; weights that do not train are not perturbed at all.

    Extra cost: one forward and one backward, so twice the step time; one copy of the trainable weights. The window's
    batches are kept until the update. Does nothing where rho is far below the weights' own curvature length; hurts
    where rho is so large that J(w + eps) says nothing of J(w): look at ``reg/SAM`` beside the loss.

    Args:
        rho: size of eps; 0.05 in the paper. ASAM wants about ten times more (0.5 in its code). 0 turns it off.
        adaptive: ASAM.
        eta: ASAM's floor of a weight's size; 0.01 in its code.

    Raises:
        UserError: rho or eta is negative; on attach, where trainable weights are not float32, since w + eps
            would round back to w; and at the first step under float16 loss scaling.
    """

    def __init__(self, rho: float = 0.05, adaptive: bool = False, eta: float = 0.01) -> None:
        if not (0 <= rho < math.inf and 0 <= eta < math.inf):
            raise UserError(f"model.regularizers: SAM(rho={rho}, eta={eta}): both are sizes; set them to 0 or more.")
        self.rho, self.adaptive, self.eta = rho, adaptive, eta
        self.scaled: set[int] = set()
        self.replays = bool(rho)

    def attach(self, model: nn.Module) -> None:
        if not self.rho:
            return
        trains = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if low := [(name, p.dtype) for name, p in trains.items() if torch.finfo(p.dtype).bits < 32]:
            raise UserError(
                f"model.regularizers: SAM(rho={self.rho}) moves weights by a small step and back, and {len(low)} "
                f"trainable tensors are {low[0][1]} ({low[0][0]} first), where most of it rounds away. Load the "
                "base in float32 (model.loading.init_args.dtype) and use trainer.precision: bf16-mixed."
            )
        self.scaled = {id(p) for name, p in trains.items() if self.adaptive and "weight" in name}

    def shape_gradients(self, parameters: Sequence[nn.Parameter], replay: Replay) -> float | None:
        if not self.rho:
            return None
        moved = [p for p in parameters if p.grad is not None]
        before = [p.detach().clone() for p in moved]
        with torch.no_grad():
            for p, step in zip(moved, self.ascent(moved), strict=True):
                p.add_(step)
        try:
            return replay() - replay.objective
        finally:
            with torch.no_grad():
                for p, value in zip(moved, before, strict=True):
                    p.copy_(value)

    def ascent(self, parameters: Sequence[nn.Parameter]) -> Iterator[Tensor]:
        """eps of each parameter, one at a time."""
        pairs = [(p, p.grad) for p in parameters if p.grad is not None]
        norm = torch.stack([(gradient * self.size(p)).norm() for p, gradient in pairs]).norm()
        factor = self.rho / norm.clamp_min(TINY)
        for p, gradient in pairs:
            yield gradient * self.size(p) ** 2 * factor

    def size(self, p: nn.Parameter) -> Tensor | float:
        """The diagonal of T."""
        return p.detach().abs() + self.eta if id(p) in self.scaled else 1.0
