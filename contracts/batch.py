"""The batch contract: what a data module hands to a model. Rows are right-padded.

B rows, T tokens of the longest row, L target tokens, C classes or choices, S samples of a packed batch. All values are
int64 but for the targets of a regression.

    input_ids       [B, T]         token ids; [B, C, T] for multiple choice: one row a choice, choices that a question
                                   has not are pads only
    attention_mask  as input_ids   1 on real tokens, 0 on pads
    labels          see below
    sample_id       [B]            the row's stable index in its split, for order digests and per-example files
    source_id       [B]            index into the data module's ``source_names``; 0 where there is one source
    token_type_ids  as input_ids   optional: segment ids of encoders that want them
    chars, bytes    [B]            optional: characters and UTF-8 bytes of the document that the row's supervised
                                   tokens stand for (language modelling)

``labels`` by target; IGNORE stands where nothing is supervised, pads included:

    class of a text        [B]     class index
    causal language model  [B, T]  token ids, *unshifted*: equal to input_ids where supervised
    class of each word     [B, T]  class index at the word's first piece, not shifted
    encoder-decoder        [B, L]  target token ids with their end token, unshifted; input_ids is the encoder's side
    regression             [B]     float32, in the unit of the data
    multi-label            [B, C]  0 or 1
    multiple choice        [B]     index of the right choice

A batch to predict without the key ``labels`` asks for text: the model generates (conversations, encoder-decoder). Other
targets get a stand-in label there that means nothing.

A packed batch (training of language models only; evaluation is never packed) has several samples in a row. It has no
``attention_mask``, and

    position_ids    [B, T]         position within the token's own sample; pads are a segment of their own. Attention
                                   never crosses a restart.
    document        [B, T]         index of the token's sample among the batch's S samples, -1 on pads
    sample_id, source_id, chars, bytes are [S]

Every shift, the causal one and the decoder's, is the model's business and happens once, there.
"""

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Batch: TypeAlias = "dict[str, Tensor]"

IGNORE = -100
"""Label of a position that is not supervised (the value of torch's cross entropy)."""

MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""The keys of a batch that go into the pretrained model."""
