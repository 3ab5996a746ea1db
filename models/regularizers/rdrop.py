"""R-Drop: two dropout masks should predict alike (Liang, Wu et al., NeurIPS 2021, arXiv:2106.14448)."""

import math

from torch import nn

from ...contracts.errors import UserError
from .regularizer import Regularizer, Step, Term, forward_drew


class RDrop(Regularizer):
    """Objective: 1/2 (nll_1 + nll_2) + weight/2 * 1/2 (KL(p_1 || p_2) + KL(p_2 || p_1)) per supervised position.

    p_1 and p_2 are two training forwards of the same text. The official code has four normalisations; this is the
    paper's objective halved, so that the learning rate stays comparable with the baseline and the weight keeps
    the paper's meaning. Both directions back-propagate. The divergence is that of the target's likelihood: between
    softmaxes, sigmoids, or unit Gaussians for a regression. ``reg/RDrop`` is the mean of both directions, in nats.

    Whatever makes two forwards differ counts: dropout of the model or the adapter, and the noise of other methods
    in the list (NEFTune, Mixout), which then is what the predictions learn to ignore. Where a forward draws no random
    number at all, the method would add exactly nothing, and the first step refuses it; most decoder-only models have
    no dropout unless the adapter brings some. LoRA's dropout has no effect while B is zero, so that there
    the divergence starts at 0.

    Extra cost: one forward and one backward, twice the step time, and the activations of both forwards are held at
    once. The log-softmaxes of the divergence are float32 and computed in chunks. It does next to nothing at
    dropout rates near 0; compare it with two masks and weight 1e-9 (twice the data) before crediting the divergence.

    Args:
        weight: alpha of the paper; 1.0 for language models, 0.7 for summaries and 5 for translation in the official
            code. 0 turns the method off, second forward included.

    Raises:
        UserError: the weight is negative; in the first step, before any update, where a forward draws nothing.
    """

    shards = True

    def __init__(self, weight: float = 1.0) -> None:
        if not 0 <= weight < math.inf:
            raise UserError(
                f"model.regularizers: RDrop(weight={weight}): below 0 it would push two forwards apart; use a number "
                "of 0 or more."
            )
        self.weight = weight
        self.needs_noise = weight > 0
        self.unproven = False

    def attach(self, model: nn.Module) -> None:
        self.unproven = self.weight > 0

    def token_term(self, step: Step) -> Term | None:
        if not self.weight:
            return None
        second = step.forward().logits
        if self.unproven and not forward_drew(second.device):
            raise UserError(
                f"model.regularizers: RDrop(weight={self.weight}) compares two forwards, and a forward of this model "
                "draws no random number: it has no dropout, and RDrop would add exactly nothing. Give the "
                "adapter some (model.adapter.init_args.lora_dropout: 0.1), or remove RDrop."
            )
        self.unproven = False
        second_nll = step.likelihood.nll(second, step.targets)
        divergence = step.likelihood.divergence(step.logits, second).sum()
        return Term(0.5 * (second_nll - step.nll).sum() + 0.5 * self.weight * divergence, divergence)
