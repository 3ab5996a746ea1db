import pytest
from transformers import AutoTokenizer

from finelab.contracts.errors import UserError
from finelab.contracts.uri import resolve
from finelab.data import TextDataModule, TextToText
from finelab.data.rejections import BadRow


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(resolve("tiny://t5").path)


def encoded(template, tokenizer, *rows, context=64, labelled=True):
    examples = [template.read(row, labelled) for row in rows]
    return template.encode(examples, tokenizer, context, None)


def test_targets_decode_to_the_answer_and_its_end(tokenizer):
    rows = [{"source": f"ein Satz {i}", "target": f"a sentence {'x' * i}"} for i in range(20)]
    samples = encoded(TextToText(prefix="translate: "), tokenizer, *rows)
    for row, sample in zip(rows, samples, strict=True):
        assert tokenizer.decode(sample["labels"]) == row["target"].strip() + "</s>"
        assert tokenizer.decode(sample["input_ids"]) == "translate: " + row["source"] + "</s>"
        assert sample["supervised"] == len(sample["labels"])


def test_every_reference_is_a_sample(tokenizer):
    row = {"source": "s", "target": ["one", "two"]}
    samples = encoded(TextToText(), tokenizer, row, {"source": "t", "target": ["three"]})
    assert [sample["row"] for sample in samples] == [0, 0, 1]
    assert [tokenizer.decode(sample["labels"]) for sample in samples] == ["one</s>", "two</s>", "three</s>"]


def test_references_are_taken_once_each_and_hold_something_visible(tokenizer):
    samples = encoded(TextToText(), tokenizer, {"source": "s", "target": ["one", "two", "one "]})
    assert [tokenizer.decode(sample["labels"]) for sample in samples] == ["one</s>", "two</s>"]
    with pytest.raises(BadRow, match="no visible character"):
        TextToText().read({"source": "s", "target": ["one", "\u200b"]}, True)


def test_a_long_source_is_cut_and_a_long_target_refused(tokenizer):
    rows = [
        {"source": "a" * 30, "target": "b"},
        {"source": "a", "target": "b" * 16},
        {"source": "a", "target": "b" * 15},
    ]
    cut, refused, kept = encoded(TextToText(target_context=16), tokenizer, *rows, context=20)
    assert len(cut["input_ids"]) == 20
    assert cut["full_tokens"] == 31
    assert cut["input_ids"][-1] == tokenizer.eos_token_id
    assert set(refused) == {"row", "refused"}
    assert "(17 tokens with its end, 16 fit" in refused["refused"]
    assert len(kept["labels"]) == 16


def test_rows_to_predict_need_the_source_alone(tokenizer):
    (sample,) = encoded(TextToText(), tokenizer, {"source": "ein Satz"}, labelled=False)
    assert "labels" not in sample


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"target": "b"}, "no column 'source'"),
        ({"source": "a", "target": " "}, "empty"),
        ({"source": "a", "target": []}, "lists no reference"),
        ({"source": "a", "target": ["b", 3]}, "no text"),
        ({"source": "a", "target": None}, "no text"),
        ({"source": "a", "target": "b\x00"}, "NUL"),
    ],
)
def test_bad_rows_are_named(row, message):
    with pytest.raises(BadRow, match=message):
        TextToText().read(row, labelled=True)


def test_batches_hold_targets_of_their_own_length(write, tokens, tmp_path):
    rows = [{"source": "ein Satz " * (i % 5 + 1), "target": f"a sentence {i}"} for i in range(12)]
    write("train.jsonl", rows)
    write("validation.jsonl", rows[:4])
    data = TextDataModule(tmp_path, TextToText(), "tiny://t5", context=32, batch_size=4, cache_dir=tokens)
    batch = next(iter(data.evaluation_loader("validation")))
    assert batch["input_ids"].shape == (4, 32)
    assert batch["labels"].shape == (4, len("a sentence 0") + 1)
    assert data.report["splits"]["train"]["truncated"] == pytest.approx(sum(i % 5 > 2 for i in range(12)) / 12)
    assert data.label_names is None
    assert "«a sentence" in data.report["example"]
    predict = write("input.jsonl", [{"source": "ein Satz"}])
    data.predict_input = str(predict)
    assert "labels" not in next(iter(data.predict_dataloader()))


def test_a_target_context_without_room_is_refused():
    with pytest.raises(UserError, match="target_context"):
        TextToText(target_context=1)
