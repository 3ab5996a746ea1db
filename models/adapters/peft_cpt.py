"""Context-aware prompt tuning through PEFT (Blau et al., arXiv:2410.17222)."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from peft import CPTConfig, CPTEmbedding, PeftModel, TaskType
from torch import Tensor, nn
from transformers import PreTrainedModel

from .adapter import Adapter
from .peft import task_of
from .peft_prompt_learning import PeftPromptLearning


class PeftCpt(PeftPromptLearning):
    """y = f([E(c) + D; E(x)]): a context c of n tokens, each of whose embeddings moves within a ball of radius
    epsilon sqrt(d / 2048); n d parameters D, which start at zero. Every forward projects back into the ball
    what has left it by more than rounding (PEFT's own projection moves a vector on the sphere a little each time, so
    that looking at a model would change it).

    The paper's loss also covers the labels inside the context, with weights that decay with their distance. PEFT
    computes that loss in its own forward, which is not the one that trains here, so that a type mask that names such
    labels (a multiple of 4) is refused; without them it is the plain loss of the row.

    PEFT keeps the sum E(c) + D; the folder therefore holds D as well, which is what is read back here.
    """

    def misfit(self, backbone: PreTrainedModel) -> str | None:
        assert isinstance(self.config, CPTConfig)
        if task_of(backbone) != TaskType.CAUSAL_LM:
            return f"works with causal language models only, not with {type(backbone).__name__}."
        if any(kind and kind % 4 == 0 for kind in self.config.cpt_tokens_type_mask or []):
            return (
                "names labels inside its context (cpt_tokens_type_mask has multiples of 4), and their loss is hidden "
                "in PEFT's own forward, where nothing here can weigh it. Give these tokens another type, 1 to 3."
            )
        return None

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        model = super().adapt(backbone)
        assert isinstance(model, PeftModel)
        encoder = model.prompt_encoder["default"]
        assert isinstance(encoder, CPTEmbedding)
        encoder.get_projection = partial(within_the_ball, encoder, encoder.get_projection)
        return model

    def save(self, model: nn.Module, folder: Path) -> None:
        super().save(model, folder)
        Adapter.save(self, model, folder)

    def load(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, PeftModel)
        self.require_same(model, folder)
        Adapter.load(self, model, folder)


@torch.no_grad()
def within_the_ball(encoder: CPTEmbedding, project: Callable[[], Tensor]) -> Tensor:
    """[n, d]; a second call changes nothing."""
    moved = encoder.delta_embedding.weight.detach()
    outside = moved.norm(dim=1) > encoder.get_epsilon().to(moved.device) * (1 + 1e-6)
    return torch.where(outside[:, None], project(), moved)
