"""Words given as a list get the pieces that they have in running text."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from finelab.data import TokenClassification

TEXT = "the old cat sat on the mat and the old dog sat on the cat"


@pytest.mark.parametrize("add_prefix_space", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_pieces_are_those_of_the_text(add_prefix_space, nested):
    backend = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(), level]) if nested else level
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator([" " + TEXT] * 5, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    words = TEXT.split()
    example = {"words": words, "tags": ["O"] * len(words)}
    [sample] = TokenClassification().encode([example], tokenizer, 64, ["O"])
    assert sample["input_ids"] == tokenizer(" " + TEXT)["input_ids"] and len(sample["input_ids"]) == len(words)
