"""What the prompt tuners of PEFT share: a trained prompt before each row, over a base that is left as it is."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

from peft import PeftConfig, PeftModel, PromptLearningConfig
from torch import nn
from transformers import PreTrainedModel

from ...contracts.errors import UserError
from .adapter import BaseIs
from .peft import Peft


class PeftPromptLearning(Peft):
    """A prompt of n vectors that stand before each row's own tokens; nothing of the base trains or changes.

    ``off`` is the base bit for bit: nothing is prepended inside, and ``virtual_tokens`` is 0. Step 0 is not the base:
    a random prompt changes every output. Cannot be merged, since there is no weight to merge into. Weight decay leaves
    the prompt alone: a vector of zeros is no prompt, and further from the base than a trained one.

    Cost: n more positions in every forward; packed rows are refused, since the prompt would stand before the first
    sample of a row only. Text is written without a cache, by whole passes.
    """

    required = ("num_virtual_tokens",)

    def __init__(self, config: PeftConfig) -> None:
        super().__init__(config)
        self.muted = False

    @property
    def base_is(self) -> BaseIs:
        return "off"

    @property
    def merges(self) -> bool:
        return False

    @property
    def virtual_tokens(self) -> int:
        return self.preceding

    @property
    def preceding(self) -> int:
        assert isinstance(self.config, PromptLearningConfig)
        return 0 if self.muted else self.config.num_virtual_tokens

    def adapt(self, backbone: PreTrainedModel) -> nn.Module:
        if reason := self.misfit(backbone):
            raise UserError(f"model.adapter: {type(self.config).__name__} {reason}")
        return super().adapt(backbone)

    def misfit(self, backbone: PreTrainedModel) -> str | None:
        """Why this tuner cannot work with a base, and what to do."""
        return None

    @contextmanager
    def off(self, model: nn.Module) -> Iterator[None]:
        assert isinstance(model, PeftModel)
        shadow, muted = vars(model).pop("forward", None), self.muted
        vars(model)["forward"], self.muted = model.base_model.forward, True
        try:
            yield
        finally:
            del vars(model)["forward"]
            self.muted = muted
            if shadow is not None:  # an outer ``off``
                vars(model)["forward"] = shadow

    def undecayed(self, model: nn.Module) -> set[int]:
        return {id(p) for p in model.parameters() if p.requires_grad}


def takes(backbone: PreTrainedModel, argument: str) -> bool:
    return argument in inspect.signature(backbone.forward).parameters
