"""The batch contract: what a data module hands to a model. Rows are right-padded.

All values are int64; B rows, T tokens.

    input_ids       [B, T]         token ids
    attention_mask  [B, T]         1 on real tokens, 0 on pads
    labels          [B] or [B, T]  class index per row; or token ids, *unshifted* (equal to input_ids where supervised)
                                   and IGNORE elsewhere
    sample_id       [B]            the row's stable index in its split, for order digests and per-example files
    source_id       [B]            index of the source a row came from; 0 where there is one source
    token_type_ids  [B, T]         optional: segment ids of encoders that want them
    chars, bytes    [B]            optional: characters and UTF-8 bytes of the document that the row's supervised
                                   tokens stand for (language modelling)

The causal shift is the model's business and happens once, there.
"""

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Batch: TypeAlias = "dict[str, Tensor]"

IGNORE = -100
"""Label of a position that is not supervised (the value of torch's cross entropy)."""

MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""The keys of a batch that go into the pretrained model."""
