"""Text to text with an encoder-decoder. Legend: B rows, L target tokens, N supervised ones, H width, V vocabulary."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from ..contracts.batch import IGNORE, Batch
from ..contracts.errors import UserError
from .generative import Generative, unpadded
from .language_model_meter import LanguageModelMeter
from .meter import Meter
from .regularizers.regularizer import Outputs
from .scored import Scored
from .token_columns import token_columns


class Seq2SeqLM(Generative):
    """Fine-tunes a pretrained encoder-decoder (T5, BART, Marian and their kin) on the target tokens of each row.

    What the decoder reads are the targets shifted to the right by the loaded model's own class, since families differ
    in what stands first. Only supervised positions reach the vocabulary layer.

    Raises:
        UserError: on building, where the base's configuration does not say with which token its decoder starts.
    """

    kind = "seq2seq"
    target_kind = "text"
    primary = ("nll", "min")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kept: Tensor | None = None
        self.read: list[Tensor] = []
        self.hook: RemovableHandle | None = None

    def build(self, backbone: nn.Module) -> nn.Module:
        layer = cast(PreTrainedModel, backbone).get_output_embeddings()
        assert layer is not None
        if self.hook is not None:  # a backbone that was looked at before it was adapted
            self.hook.remove()
        self.hook = layer.register_forward_pre_hook(self.keep_supervised)
        try:
            shifted_right(backbone, torch.tensor([[0, IGNORE]]))
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"model.base: {self.base!r} does not say how its decoder starts ({error}); its config.json needs "
                "decoder_start_token_id and pad_token_id."
            ) from error
        return backbone

    def keep_supervised(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """While a batch is scored the vocabulary layer sees [N, H] instead of [B, L, H]; generation is let through."""
        if self.kept is None:
            return None
        self.read = [inputs[0][self.kept]]
        return (self.read[0],)

    @property
    def adapted(self) -> nn.Module:
        assert self.model is not None
        return self.model

    def supervised(self, batch: Batch) -> tuple[Outputs, Tensor, Tensor]:
        labels = batch["labels"]
        inputs = self.inputs(batch)
        self.kept = labels != IGNORE
        try:
            decoder_input_ids = shifted_right(self.adapted, labels)
            logits = self.adapted(**inputs, decoder_input_ids=decoder_input_ids, use_cache=False).logits
            return Outputs(logits, self.read.pop()), labels[self.kept], self.kept.nonzero()[:, 0]
        finally:
            self.kept = None

    def asked(self, batch: Batch) -> tuple[list[list[int]], list[list[int]]]:
        """The encoder's tokens of each row, and its targets."""
        labels = batch.get("labels")
        answers = [] if labels is None else unpadded(labels, labels != IGNORE)
        return unpadded(batch["input_ids"], batch["attention_mask"]), answers

    def meter(self) -> Meter:
        return LanguageModelMeter()

    def example_columns(self, scored: Scored, batch: Batch) -> dict[str, list]:
        return token_columns(scored, batch)


def shifted_right(model: nn.Module, labels: Tensor) -> Tensor:
    """[B, L] target ids, IGNORE on pads, to what the decoder reads; each family of models has its own rule."""
    return cast(Any, model).prepare_decoder_input_ids_from_labels(labels)
