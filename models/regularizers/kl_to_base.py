"""KL to the base: what the model says may not drift far from what the base said.

As learning without forgetting on the new task's own text (Li and Hoiem, ECCV 2016, arXiv:1606.09282), with the whole
distribution of a language model and no temperature.
"""

import math
from typing import Literal

from torch import nn

from ...contracts.errors import UserError
from .regularizer import Fresh, Regularizer, Step, Term


class KLToBase(Regularizer):
    """Objective: nll + weight * KL(p_0 || p) per supervised position (forward), or weight * KL(p || p_0) (reverse).

    p is what the tuned model says in training mode, p_0 what the base says of the same text in eval mode, exact over
    all classes, taken from ``step.reference()``. Forward keeps mass wherever the base has some; reverse forbids mass
    where the base has none. p carries the dropout masks of its forward, so with dropout in the model the divergence
    is above zero from the start; without any, and with an adapter that starts as the identity, it starts at exactly 0
    with no gradient. It is the divergence of the target's likelihood. On the fine-tuning text this number by itself
    predicts forgetting (arXiv:2509.04259), so that it is worth logging with a tiny weight.

    Extra cost: one forward without gradients a micro-batch, a third of a full fine-tuning step and half of a LoRA
    step; a copy of the trainable weights where the base is the start (full fine-tuning, PiSSA), none where the adapter
    can be switched off (LoRA); the logits of the base, [N, V] in their own dtype. The log-softmaxes are float32 and
    chunked. Hurts where the task wants what the base finds unlikely, such as a new format: it then
    opposes the task's loss token by token.

    Args:
        weight: beta, in nats per nat; ASFT's code uses 0.05 and there is no default to rely on: sweep it on a
            log grid. 0 turns it off.
        direction: forward or reverse.

    Raises:
        UserError: the weight is negative or the direction unknown; on attach, where the target has a new head, of
            which the base says nothing. The FineTuner refuses an adapter whose base is lost (LoftQ).
    """

    shards = True

    def __init__(self, weight: float = 0.05, direction: Literal["forward", "reverse"] = "forward") -> None:
        if not 0 <= weight < math.inf or direction not in ("forward", "reverse"):
            raise UserError(
                f"model.regularizers: KLToBase(weight={weight}, direction={direction!r}) is no penalty; weight is 0 or "
                "more, and direction is forward, KL(base || tuned), or reverse, KL(tuned || base)."
            )
        self.weight, self.direction = weight, direction
        self.reads_base = bool(weight)

    def attach(self, model: nn.Module) -> None:
        if self.weight and any(isinstance(module, Fresh) for module in model.modules()):
            raise UserError(
                f"model.regularizers: KLToBase(weight={self.weight}) compares what the model and the base predict, and "
                "this target reads a new head, which the base does not have: its random start would be the anchor. "
                "Train the task as text (model: finelab.models.CausalLM with a template that writes the label), where "
                "the base predicts something, or hold the pretrained weights with finelab.models.regularizers.L2SP."
            )

    def token_term(self, step: Step) -> Term | None:
        if not self.weight:
            return None
        pair = (step.reference().logits, step.logits)
        divergence = step.likelihood.kl(*(pair if self.direction == "forward" else reversed(pair))).sum()
        return Term(self.weight * divergence, divergence)
