"""Next-token prediction. Legend: B rows, T tokens, N supervised positions, V vocabulary."""

from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from ..contracts.batch import IGNORE, Batch
from ..contracts.errors import UserError
from .generative import Generative, unpadded
from .language_model_meter import LanguageModelMeter
from .losses import shift
from .meter import Meter
from .regularizers.regularizer import Outputs
from .scored import Scored
from .token_columns import token_columns


class CausalLM(Generative):
    """Fine-tunes a decoder-only language model on the supervised tokens of each row.

    Only supervised positions reach the vocabulary layer, so that masked prompts cost no logits.
    """

    kind = "causal_lm"
    target_kind = "tokens"
    primary = ("nll", "min")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.read: list[Tensor] = []
        self.hook: RemovableHandle | None = None

    def build(self, backbone: nn.Module) -> nn.Module:
        layer = cast(PreTrainedModel, backbone).get_output_embeddings()
        assert layer is not None
        if self.hook is not None:  # a backbone that was looked at before it was adapted
            self.hook.remove()
        self.hook = layer.register_forward_pre_hook(self.keep_hidden)
        return backbone

    def keep_hidden(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.read = [inputs[0]]

    @property
    def adapted(self) -> nn.Module:
        assert self.model is not None
        return self.model

    def supervised(self, batch: Batch) -> tuple[Outputs, Tensor, Tensor]:
        at = shift(batch["labels"])
        inputs = self.inputs(batch)
        mask = F.pad(at.mask, (self.adapter.virtual_tokens, 0), value=False)
        rows = at.rows
        if "document" in batch:
            rows = batch["document"][at.mask]
            inputs, mask = self.blocked(inputs | {"position_ids": batch["position_ids"]}, mask)
        logits = self.adapted(**inputs, logits_to_keep=mask).logits
        return Outputs(logits.flatten(0, -2), self.read.pop().flatten(0, -2)), at.targets, rows

    def blocked(self, inputs: dict[str, Tensor], mask: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Packed rows in the form in which this model's attention stays inside each sample.

        Raises:
            UserError: the adapter's virtual tokens would stand before the first sample of a row only.
        """
        if self.adapter.preceding:
            raise UserError(
                f"data.loader: packed rows cannot train {type(self.adapter).__name__} with "
                f"{self.adapter.preceding} virtual tokens: they would stand before the first sample of a row "
                "only. Remove packing or padding_free from data.init_args.loader, or choose another model.adapter."
            )
        if not self.attention.startswith("flash"):
            return inputs, mask
        # transformers looks for samples inside a row only where flash attention is given a single row.
        return {key: value.reshape(1, -1) for key, value in inputs.items()}, mask.reshape(1, -1)

    @property
    def attention(self) -> str:
        """The attention kernel that transformers chose."""
        return str(cast(PreTrainedModel, self.adapted).config._attn_implementation)

    def asked(self, batch: Batch) -> tuple[list[list[int]], list[list[int]]]:
        """The tokens before the last supervised stretch of each row, and that stretch."""
        texts = unpadded(batch["input_ids"], batch["attention_mask"])
        if "labels" not in batch:
            return texts, []
        prompts, answers = [], []
        for text, labels in zip(texts, batch["labels"].tolist(), strict=True):
            end = max((i + 1 for i in range(len(text)) if labels[i] != IGNORE), default=len(text))
            start = next((i + 1 for i in range(end - 1, -1, -1) if labels[i] == IGNORE), 0)
            prompts.append(text[:start])
            answers.append(text[start:end])
        return prompts, answers

    def meter(self) -> Meter:
        return LanguageModelMeter()

    def example_columns(self, scored: Scored, batch: Batch) -> dict[str, list]:
        return token_columns(scored, batch)
