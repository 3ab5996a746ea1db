"""Where the text becomes vectors: what the methods share that move the input embeddings.

Legend: B rows, T tokens, R x T the layout that the embedding sees, S sequences, n real tokens, d width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...contracts.batch import Batch
from ...contracts.errors import UserError


class Tokens(NamedTuple):
    """The real tokens of one micro-batch. A sequence is a row, a choice of a row, or a sample of a packed row.

    Args:
        at: [R, T] bool, where they stand.
        sequence: [n] the sequence of each, in the order of ``at``.
        lengths: [S] tokens of each sequence.
    """

    at: Tensor
    sequence: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, batch: Batch, shape: torch.Size) -> "Tokens":
        """
        Args:
            batch: padded, packed or multiple choice.
            shape: R, T; choices that a question has not are left out, and flash attention gets packed rows as one.
        """
        if "document" in batch:
            owner = batch["document"].reshape(shape)
        else:
            mask = batch["attention_mask"]
            mask = (mask[mask.any(-1)] if mask.ndim > 2 else mask).bool()
            rows = torch.arange(len(mask), device=mask.device).unsqueeze(1)
            owner = rows.masked_fill(~mask, -1)
        at = owner >= 0
        sequence = owner[at]
        return cls(at, sequence, sequence.bincount())

    def summed(self, values: Tensor) -> Tensor:
        """[n] to [S]: the sum over each sequence."""
        return values.new_zeros(len(self.lengths)).index_add_(0, self.sequence, values)

    def placed(self, values: Tensor) -> Tensor:
        """[n, d] to [R, T, d], zero on pads."""
        at = self.at.unsqueeze(-1)
        return values.new_zeros(*self.at.shape, values.shape[-1]).masked_scatter(at, values)


Shift = Callable[[Tensor, Tokens], Tensor]
"""From the embedded text [R, T, d] and its tokens to what is added to it, [R, T, d] float32."""


class EmbeddedText:
    """Adds something to the embedded text, once in each training forward.

    An encoder-decoder embeds twice, sometimes with one module: only the first call, that of the text that the encoder
    reads, is changed. Virtual tokens of a prompt tuner are not embedded here, so that they stay as they are.

    Args:
        method: to be named in an error.
        model: the adapted model.
        shift: called while the embedding is training and a forward was announced.
    """

    def __init__(self, method: str, model: nn.Module, shift: Shift) -> None:
        self.method, self.shift = method, shift
        self.batch: Batch | None = None
        for module in text_embeddings(model):
            module.register_forward_hook(self.hook)

    def announce(self, batch: Batch) -> None:
        """A training forward of this batch comes next.

        Raises:
            UserError: the one before went by without the embedding in training mode.
        """
        if self.batch is not None:
            raise UserError(
                f"model.regularizers: {self.method} acts on the input embedding, and the last training forward did not "
                "call it in training mode, so that it would do nothing. Call train() on the model, or remove "
                f"{self.method}."
            )
        self.batch = batch

    def hook(self, module: nn.Module, inputs: Any, embedded: Tensor) -> Tensor | None:
        if self.batch is None or not module.training:
            return None
        return shifted(self, embedded)  # pyright: ignore[reportCallIssue]


@torch.compiler.disable
def shifted(text: EmbeddedText, embedded: Tensor) -> Tensor:
    """The embedded text of the forward that was announced, which is then over for ``text``."""
    assert text.batch is not None
    batch, text.batch = text.batch, None
    return embedded + text.shift(embedded, Tokens.of(batch, embedded.shape[:2])).to(embedded.dtype)


def text_embeddings(model: nn.Module) -> list[nn.Module]:
    """The modules that may embed the text: of an encoder-decoder the encoder's own, which ``get_input_embeddings``
    does not always name (T5 keeps a third one that nobody calls), and the one that a prompt tuner calls itself."""
    base = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
    encoder = base.get_encoder()
    reader = encoder if isinstance(encoder, PreTrainedModel) else base  # BERT's "encoder" is its layers without it
    prompted = [
        module.word_embeddings
        for module in model.modules()
        if isinstance(module, PeftModel) and module.active_peft_config.is_prompt_learning
    ]
    return [cast(nn.Module, module) for module in dict.fromkeys([reader.get_input_embeddings(), *prompted])]
