"""The batch contract: what a data module hands to a model. B rows, T tokens, right-padded.

| key            | shape            | type  | meaning |
|----------------|------------------|-------|---------|
| input_ids      | [B, T]           | int64 | token ids |
| attention_mask | [B, T]           | int64 | 1 on real tokens, 0 on pads |
| labels         | [B] or [B, T]    | int64 | class index per row, or token ids *unshifted* (equal to input_ids where supervised); IGNORE elsewhere |
| sample_id      | [B]              | int64 | the row's stable index in its split: order digests and per-example files use it |
| source_id      | [B]              | int64 | index of the source a row came from (0 where there is one source) |
| token_type_ids | [B, T], optional | int64 | segment ids of encoders that want them |
| chars, bytes   | [B], optional    | int64 | characters and UTF-8 bytes of the document that the row's supervised tokens stand for (language modelling) |

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
