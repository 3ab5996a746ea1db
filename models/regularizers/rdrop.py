"""R-Drop: two dropout masks should predict alike (Liang, Wu et al., NeurIPS 2021, arXiv:2106.14448)."""

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from ...contracts.errors import UserError
from .regularizer import Regularizer, Step, Term


class RDrop(Regularizer):
    """Objective: 1/2 (nll_1 + nll_2) + weight/2 * 1/2 (KL(p_1 || p_2) + KL(p_2 || p_1)) per supervised position.

    The official code has four normalisations; this is the paper's objective halved, so that the learning rate stays
    comparable with the baseline and the weight keeps the paper's meaning. Both directions back-propagate. The
    divergence is that of the target's likelihood: between softmaxes, sigmoids, or unit Gaussians for a regression.

    Cost: one more forward and backward, about twice the step time and activations. Useless without dropout
    in the model (most decoder-only models have none unless the adapter brings some), which is an error here.

    Args:
        weight: alpha of the paper; 1.0 for language models and 5 for translation in the official code.
            0 turns the method off.

    Raises:
        UserError: on attach, where the model has no dropout.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def attach(self, model: nn.Module) -> None:
        if self.weight and not any(rate > 0 for rate in dropout_rates(model)):
            raise UserError(
                f"RDrop(weight={self.weight}) compares two dropout masks, and this model has no dropout: it would "
                "add exactly nothing. Give the adapter some (model.adapter.init_args.lora_dropout: 0.1), or remove it."
            )

    def token_term(self, step: Step) -> Term | None:
        if not self.weight:
            return None
        second = step.forward().logits
        second_nll = step.likelihood.nll(second, step.targets)
        divergence = step.likelihood.divergence(step.logits, second).sum()
        return Term(0.5 * (second_nll - step.nll).sum() + 0.5 * self.weight * divergence, divergence)


def dropout_rates(model: nn.Module) -> list[float]:
    """Every dropout probability in a model: its dropout layers, and the rates that attention layers keep as numbers."""
    layers = [module.p for module in model.modules() if isinstance(module, _DropoutNd)]
    attention = [vars(module).get("attention_dropout", 0.0) for module in model.modules()]
    return layers + [rate for rate in attention if isinstance(rate, float)]
