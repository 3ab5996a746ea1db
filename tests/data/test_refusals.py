"""Rows that a template can give no sample for: named, counted, and never in the tokens."""

import pytest

from finelab.contracts.errors import UserError
from finelab.data import Documents, TextDataModule

LONGEST = 40


class Short(Documents):
    """Refuses texts over ``LONGEST`` tokens under a policy, and says that it took one token from the others."""

    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def encode(self, examples, tokenizer, context, label_names):
        samples = super().encode(examples, tokenizer, context, label_names)
        return [
            {"row": sample["row"], "refused": f"too long ({sample['full_tokens']} tokens)", "policy": self.policy}
            if sample["full_tokens"] > LONGEST
            else sample | {"shortened": sample["row"] % 2, "prompt_tokens": 1}
            for sample in samples
        ]


@pytest.fixture
def make(write, tokens):
    """2,500 rows of which the first 1,000 and every tenth after them are too long."""
    rows = [{"text": "x" * (60 if i < 1000 or i % 10 == 0 else 20) + str(i)} for i in range(2500)]
    write("rows/train.jsonl", rows)
    folder = write("rows/validation.jsonl", rows[1001:1003]).parent

    def module(policy, on_bad_row="error"):
        return TextDataModule(str(folder), Short(policy), "tiny://llama", 128, on_bad_row=on_bad_row, cache_dir=tokens)

    return module


@pytest.mark.parametrize(("policy", "on_bad_row"), [("skip", "error"), (None, "skip")])
def test_refused_rows_are_counted_listed_and_kept_out(make, policy, on_bad_row):
    data = make(policy, on_bad_row)
    audit = data.report["splits"]["train"]
    assert audit["rows"] == audit["samples"] == 1350
    assert audit["dropped"]["reasons"] == {"too long": 1150}
    assert audit["dropped"]["first"][0].endswith("train.jsonl:1: too long (62 tokens)")
    assert sum(len(batch["labels"]) for batch in data.evaluation_loader("train")) == 1350
    assert audit["shortened"] == 750, "of the odd rows from 1,001 on, none is too long"
    assert "prompts shortened  rows of train 750, validation 1" in data.render_report()
    assert set(next(iter(data.train_dataloader()))) == {
        "input_ids", "attention_mask", "labels", "sample_id", "source_id", "chars", "bytes",
    }  # fmt: skip


@pytest.mark.parametrize(("policy", "on_bad_row"), [("error", "skip"), (None, "error")])
def test_the_policy_error_stops_at_the_row(make, policy, on_bad_row):
    with pytest.raises(UserError, match=r"train\.jsonl:1: too long \(62 tokens\)\. Fix the row"):
        _ = make(policy, on_bad_row).report


def test_refused_rows_to_predict_are_left_out_of_the_samples(make, write):
    data = make("skip")
    data.predict_input = str(write("input.jsonl", [{"text": "x" * 60}, {"text": "fine"}, {"text": "good"}]))
    with pytest.warns(
        UserWarning, match=r"1 rows .* \(too long 1\)\. The first: .*input\.jsonl:1: too long \(61 tokens\)"
    ):
        loader = data.predict_dataloader()
    assert (data.predict_ids, data.predict_rows) == ([1, 2, 3], [1, 2])
    assert sum(len(batch["labels"]) for batch in loader) == 2
