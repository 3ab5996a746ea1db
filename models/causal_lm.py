"""Next-token prediction. Legend: B rows, T tokens, N supervised positions, V vocabulary."""

from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from ..contracts.batch import MODEL_INPUTS, Batch
from .finetuner import FineTuner
from .losses import shift
from .meters import LanguageModelMeter, Meter, token_columns
from .regularizers.regularizer import Outputs
from .scored import Scored


class CausalLM(FineTuner):
    """Fine-tunes a decoder-only language model on the supervised tokens of each row.

    Only supervised positions reach the vocabulary layer, so that masked prompts cost no logits.
    """

    kind = "causal_lm"
    primary = ("nll", "min")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.read: list[Tensor] = []

    def build(self, backbone: nn.Module) -> nn.Module:
        layer = cast(PreTrainedModel, backbone).get_output_embeddings()
        assert layer is not None
        layer.register_forward_pre_hook(self.keep_hidden)
        return backbone

    def keep_hidden(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.read = [inputs[0]]

    @property
    def adapted(self) -> nn.Module:
        assert self.model is not None
        return self.model

    def supervised(self, batch: Batch) -> tuple[Outputs, Tensor, Tensor]:
        at = shift(batch["labels"])
        inputs = {key: batch[key] for key in MODEL_INPUTS if key in batch}
        mask = F.pad(at.mask, (self.adapter.virtual_tokens, 0), value=False)
        logits = self.adapted(**inputs, logits_to_keep=mask).logits
        return Outputs(logits.flatten(0, -2), self.read.pop().flatten(0, -2)), at.targets, at.rows

    def meter(self) -> Meter:
        return LanguageModelMeter()

    def example_columns(self, scored: Scored, batch: Batch) -> dict[str, list]:
        return token_columns(scored, batch)
