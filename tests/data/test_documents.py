import random

import pytest

from finelab.contracts.batch import IGNORE
from finelab.contracts.errors import UserError
from finelab.data.documents import Documents, attribute
from finelab.data.tokenizer import load_tokenizer

TEXTS = [
    "A short one.",
    "x",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. " * 7,
    "日本語のテキスト、👩‍👩‍👧‍👦 and é as two: e\u0301 \n\n  spaces   kept\t\r\n",
    "  leading and trailing  ",
    "".join(chr(random.Random(3).choice([65, 0xE9, 0x20, 0x4E00 + k, 0x1F600 + k % 60])) for k in range(150)),
]


def tokenizer_of(base):
    return load_tokenizer(base).tokenizer


@pytest.fixture(scope="module")
def llama():
    return tokenizer_of("tiny://llama")


def check_windows(samples, ids, text, context, overlap, bos):
    """The promises, checked against the tokenizer's own ids."""
    document = ([] if bos is None else [bos]) + ids
    supervised = []
    covered = 0
    for number, sample in enumerate(samples):
        labels, tokens = sample["labels"], sample["input_ids"]
        assert len(tokens) == len(labels) <= context
        fresh = [i for i, label in enumerate(labels) if label != IGNORE]
        assert fresh == list(range(fresh[0], len(labels))), "supervised tokens stand together at the end"
        assert fresh[0] >= 1, "what nothing precedes cannot be a target"
        assert [labels[i] for i in fresh] == [tokens[i] for i in fresh]
        assert len(fresh) == sample["supervised"]
        if number:
            assert fresh[0] == overlap
            assert tokens[:overlap] == document[covered - overlap : covered]
        covered = covered + (len(tokens) if number == 0 else len(fresh))
        supervised += [labels[i] for i in fresh]
    assert supervised == document[1:]
    first = 0 if bos is not None else 1
    assert len(supervised) == len(ids) - first
    if bos is not None:
        assert sum(sample["chars"] for sample in samples) == len(text)
        assert sum(sample["bytes"] for sample in samples) == len(text.encode())


@pytest.mark.parametrize("overlap", [1, 2, 7, 15])
@pytest.mark.parametrize("context", [16, 17, 64])
def test_no_token_is_lost_or_scored_twice(llama, context, overlap):
    samples = Documents(overlap=overlap).encode([{"text": text} for text in TEXTS], llama, context, None)
    for row, text in enumerate(TEXTS):
        own = [sample for sample in samples if sample["row"] == row]
        ids = llama(text, add_special_tokens=False)["input_ids"]
        check_windows(own, ids, text, context, overlap, llama.bos_token_id)


@pytest.mark.parametrize("name", ["stories260K", "babyllama-361"])
@pytest.mark.parametrize("overlap", [1, 9])
def test_no_token_is_lost_with_a_real_tokenizer(shared_model, name, overlap):
    tokenizer = tokenizer_of(str(shared_model(name)))
    samples = Documents(overlap=overlap).encode([{"text": text} for text in TEXTS], tokenizer, 32, None)
    for row, text in enumerate(TEXTS):
        own = [sample for sample in samples if sample["row"] == row]
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        check_windows(own, ids, text, 32, overlap, tokenizer.bos_token_id)
        assert own[0]["input_ids"][:1] == [tokenizer.bos_token_id]
        assert sum(ids == tokenizer.bos_token_id for sample in own for ids in sample["input_ids"]) == 1


def test_document_lengths_around_the_window(llama):
    for length in range(1, 40):
        text = "abcdefghijklmnopqrstuvwxyz0123456789ABCD"[:length]
        samples = Documents().encode([{"text": text}], llama, 8, None)
        check_windows(samples, llama(text, add_special_tokens=False)["input_ids"], text, 8, 1, llama.bos_token_id)


def test_without_a_start_token_the_first_token_is_not_scored_and_its_characters_neither():
    bert = tokenizer_of("tiny://bert")
    assert bert.bos_token_id is None and bert.eos_token_id is None
    text = "éab"
    [sample] = Documents().encode([{"text": text}], bert, 8, None)
    ids = bert(text, add_special_tokens=False)["input_ids"]
    assert sample["labels"] == [IGNORE, *ids[1:]]
    assert (sample["chars"], sample["bytes"]) == (2, 2)
    assert Documents().encode([{"text": "a"}], bert, 8, None) == []


def test_eos_starts_a_document_where_there_is_no_bos():
    t5 = tokenizer_of("tiny://t5")
    [sample] = Documents().encode([{"text": "ab"}], t5, 8, None)
    assert sample["input_ids"][0] == t5.eos_token_id
    assert sample["chars"] == 2


def test_an_appended_end_is_a_target_and_stands_for_no_character(llama):
    text = "abcdefg"
    samples = Documents(append_eos=True).encode([{"text": text}], llama, 8, None)
    assert samples[-1]["labels"][-1] == llama.eos_token_id
    assert sum(sample["supervised"] for sample in samples) == len(text) + 1
    assert sum(sample["chars"] for sample in samples) == len(text)


def test_characters_go_to_the_token_that_ends_behind_them():
    text = "aé 👍b "
    assert attribute(text, [1, 2, 2, 4, 4, 4, 4, 5]) == ([1, 1, 0, 2, 0, 0, 0, 2], [1, 2, 0, 5, 0, 0, 0, 2])
    assert attribute("abc", [2, 1, 3]) == ([2, 0, 1], [2, 0, 1])
    assert attribute("abc", []) == ([], [])


def test_settings_that_lose_tokens_are_refused(llama):
    with pytest.raises(UserError, match="overlap is 0"):
        Documents(overlap=0)
    with pytest.raises(UserError, match="overlap 8 leaves no new token in a context of 8"):
        Documents(overlap=8).encode([{"text": "abc"}], llama, 8, None)
    with pytest.raises(UserError, match="append_eos"):
        Documents(append_eos=True).encode([{"text": "abc"}], tokenizer_of("tiny://bert"), 8, None)
