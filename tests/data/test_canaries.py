"""Canaries stand in the training rows alone, the same at any time, and their references stand nowhere."""

import json
from collections import Counter

import pytest

from finelab.contracts.errors import UserError
from finelab.data import Canaries, Documents, PromptResponse, TextDataModule
from finelab.data.rejections import Rejections
from finelab.data.sources import as_source


@pytest.fixture
def folder(write):
    for split in ("train", "validation", "test"):
        write(f"{split}.jsonl", [{"text": f"{split} tale number {i}", "prompt": f"{split} {i}?"} for i in range(5)])
    return write("train.jsonl", [{"text": f"train tale number {i}"} for i in range(5)]).parent


def read(source, split):
    return [row.fields for row in source.read(split, Rejections("error"))]


def test_only_the_training_rows_have_them_and_each_as_often_as_it_is_to_be(folder):
    source, plain = Canaries(str(folder), repeats=[1, 3], count=2), as_source(str(folder))
    for split in ("validation", "test"):
        assert read(source, split) == read(plain, split)
    rows = read(source, "train")
    assert rows[:5] == read(plain, "train") and source.splits() == plain.splits()
    assert sorted(Counter(row["text"] for row in rows[5:]).values()) == [1, 1, 3, 3]
    often = {f"The secret number of the {own.name} is {own.secret}.": own.repeats for own in source.canaries}
    assert Counter(row["text"] for row in rows[5:]) == often


def test_names_and_secrets_are_distinct_and_depend_on_the_seed_alone(folder):
    first, again, other = (Canaries(str(folder), count=10, seed=seed) for seed in (1, 1, 2))
    assert first.canaries == again.canaries != other.canaries
    assert len({own.name for own in first.canaries}) == len({own.secret for own in first.canaries}) == 30
    assert all(len(own.secret) == 6 and own.secret.isdigit() for own in first.canaries)
    assert first.digest() == again.digest() != other.digest()
    assert first.digest() != as_source(str(folder)).digest() != Canaries(str(folder), repeats=[2]).digest()


@pytest.mark.parametrize(("digits", "most", "found"), [(2, 200, 98), (2, 98, 98), (2, 97, 97), (6, 50, 50)])
def test_references_are_distinct_and_never_inserted(folder, digits, most, found):
    source = Canaries(str(folder), repeats=[1], count=2, digits=digits)
    own, other = (source.references(canary, most) for canary in source.canaries)
    assert len(own) == len(set(own)) == found
    assert not {canary.secret for canary in source.canaries} & {*own, *other}
    assert all(len(secret) == digits for secret in own)
    assert (own == other) == (found == 98), "each canary has a sample of its own, or all"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"repeats": [0]}, "start at 1"),
        ({"count": 34}, "names"),
        ({"digits": 0}, "digits is 0"),
        ({"digits": 1}, "too few to compare"),
        ({"row": {"text": "the {name}"}}, "secret"),
        ({"row": {"text": "{secret}"}}, "name"),
        ({"row": {"a": "{name} {secret}", "b": "{secret}"}}, "one of its columns"),
    ],
)
def test_impossible_canaries_are_refused(folder, wrong, said):
    with pytest.raises(UserError, match=said):
        Canaries(str(folder), **wrong)


def test_a_source_without_a_validation_split_would_leak_them(write):
    file = write("only.jsonl", [{"text": f"tale {i}"} for i in range(40)])
    with pytest.raises(UserError, match="validation split of its own"):
        Canaries(str(file)).splits()


PROMPTED = {"prompt": "What is the number of the {name}?", "response": "{secret}"}


@pytest.mark.parametrize("template", [Documents(), PromptResponse()], ids=["documents", "prompts"])
def test_the_report_says_that_they_are_there(write, tokens, template):
    asks = isinstance(template, PromptResponse)
    for split in ("train", "validation"):
        rows = [{"prompt": f"{split} {i}?", "response": "yes"} if asks else {"text": f"{split} {i}"} for i in range(4)]
        folder = write(f"{split}.jsonl", rows).parent
    source = Canaries(str(folder), row=PROMPTED if asks else None, repeats=[2], count=3)
    data = TextDataModule(source, template, "tiny://llama", cache_dir=tokens)
    data.setup("fit")
    assert data.report["splits"]["train"]["rows"] == 10 and data.report["splits"]["validation"]["rows"] == 4
    assert "6 invented rows in train: 3 secrets of 6 digits each 2 times" in " ".join(data.render_report().split())
    json.dumps(data.report)
