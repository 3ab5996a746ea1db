"""The variational term of MonteCLoRA (Sengupta et al., 2024, arXiv:2411.04358)."""

from peft import LoraModel
from peft.tuners.lora.monteclora import MontecloraSampler
from torch import Tensor, nn

from ..regularizers.regularizer import Regularizer, Step, Term


class Monteclora(Regularizer):
    """kl_loss_weight * KL(q || prior) of the noise that each layer adds to its A, + the squares of the mixture weights
    with ``use_entropy``; the mean over layers, as ``LoraModel._get_monteclora_loss`` computes it.

    PEFT leaves adding it to the user. Part of it depends on the last forward's draw, so that it is a token term: each
    micro-batch adds it times its supervised positions, and the step's objective holds the mean of the draws. Shown is
    the weighted sum. Cost: next to nothing.

    PEFT draws the noise for many forwards at once and hands it out by a counter, which a replay, a recomputed
    activation or a resumed run would not repeat. ``attach`` sets the buffers so that each forward draws its own, from
    the generator that dropout uses.
    """

    def attach(self, model: nn.Module) -> None:
        self.tuner = next(m for m in model.modules() if isinstance(m, LoraModel))
        for module in model.modules():
            if isinstance(module, MontecloraSampler):
                module.sampler.buffer, module.sampler.buffer_size, module.sampler.index = [], 1, 1

    def token_term(self, step: Step) -> Term | None:
        value = self.tuner._get_monteclora_loss()
        if not isinstance(value, Tensor):
            return None
        whole = value * len(step.nll)
        return Term(whole, whole.detach())
