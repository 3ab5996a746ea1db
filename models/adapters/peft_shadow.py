"""ShadowPEFT (PEFT 0.21, no paper known): a small network beside the base, whose state each block reads and updates."""

import re
from collections.abc import Mapping

from peft import ShadowConfig, ShadowModel
from peft.tuners.shadow.layers import ShadowLayer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from ...contracts.batch import IGNORE, Batch
from ...contracts.errors import UserError
from ..regularizers.regularizer import Regularizer, Step, Term
from .peft import Peft

BLOCK = re.compile(r"layers?\.(\d+)$")
UNREAD = {
    "shadow_backbone.default.embeddings": "the shadow reads the base's embeddings",
    "shadow_backbone.default.pooler": "nothing reads it",
}


class PeftShadow(Peft):
    """h_l = block_l(h) + alpha U_l (s_l - D_l h): a shadow state s runs beside the base's blocks.

    Trains the shadow backbone (by default one block of the base's kind), a projection, and per block a down and an up
    projection of rank r and the update of s. The up projections start at zero, so that step 0 is the base. The last
    block's update of s is read by nothing and gets no gradient. Brings ``ShadowLoss`` for language models; encoders get
    none, since their head lies outside what PEFT sees. Cost: the shadow's forward, ``shadow_dropout`` on the way.
    Depends on the input: does not merge. Switched off it is the base; weight decay pulls the projections to it.

    Raises:
        UserError: ``adapt``: ``target_modules`` names something else than whole blocks.
    """

    config: ShadowConfig

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        model = super().adapt(backbone)
        for name, module in model.named_modules():
            above = model.get_submodule(name.rpartition(".")[0])
            if isinstance(module, ShadowLayer) and not isinstance(above, nn.ModuleList):
                raise UserError(
                    "model.adapter: ShadowConfig.target_modules is to name whole blocks, and "
                    f"{name.removeprefix('base_model.model.')} of {type(backbone).__name__} is none. Set it to null, "
                    "or to a pattern of the blocks such as '.*encoder.layer.[0-9]+'."
                )
        return model

    @property
    def merges(self) -> bool:
        return False

    def idle(self, model: nn.Module) -> Mapping[str, str]:
        last = max(int(number) for name, _ in model.named_modules() for number in BLOCK.findall(name))
        return {f".{last}.shadow_update": "no block comes after the last one's update"} | UNREAD

    def regularizers(self) -> list[Regularizer]:
        return [ShadowLoss(self.config.auxiliary_loss_weight)]


class ShadowLoss(Regularizer):
    """weight * nll of the base's own vocabulary layer read from the first shadow state, at the supervised positions.

    It makes the shadow a language model by itself. PEFT adds the same to the loss of a forward with labels, as a mean
    over the batch; here it is summed over supervised positions like every other term. Cost: one more vocabulary layer.

    Args:
        weight: ``auxiliary_loss_weight``; 0 turns it off.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def attach(self, model: nn.Module) -> None:
        self.tuner = next(m for m in model.modules() if isinstance(m, ShadowModel))
        self.head = self.tuner.model.get_output_embeddings()

    def before_forward(self, batch: Batch) -> None:
        self.labels = batch["labels"]

    def token_term(self, step: Step) -> Term | None:
        if not self.weight or self.head is None:
            return None
        state = self.tuner._seed_shadow_state
        assert isinstance(state, Tensor)
        predicts = F.pad(self.labels[:, 1:] != IGNORE, (0, 1), value=False)
        nll = step.likelihood.nll(self.head(state[predicts]), step.targets).sum()
        return Term(self.weight * nll, nll)
