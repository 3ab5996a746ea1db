"""What is counted of a split is what is kept of it."""

import pytest
from datasets import Dataset

from finelab.contracts.errors import UserError
from finelab.data import Classification, Duplicates, MultiLabel, PromptResponse, TextDataModule, TextToText
from finelab.data.audit import per_row
from finelab.data.tokenized_split import TokenizedSplit


def module(write, tokens, template, base="tiny://llama", **options):
    """A module of ``train`` and ``validation`` rows."""
    files = {split: str(write(f"{split}.jsonl", options.pop(split))) for split in ("train", "validation")}
    return TextDataModule(files, template, base, cache_dir=tokens, **{"context": 64, **options})


def test_without_rows_their_samples_are_gone_and_the_others_count_anew():
    samples = Dataset.from_dict({"row": [0, 0, 1, 2, 2, 3], "input_ids": [[1], [2], [3, 4], [5], [6, 6], [7]]})
    part = TokenizedSplit([(str(n), {"n": n}) for n in range(4)], samples).without({0, 3})
    assert [where for where, _ in part.rows] == ["1", "2"]
    assert part.samples.to_dict() == {"row": [0, 1, 1], "input_ids": [[3, 4], [5], [6, 6]]}


def test_of_several_samples_of_a_row_the_longest_counts(write, tokens):
    samples = Dataset.from_dict({"row": [0, 0, 2], "full_tokens": [3, 5, 4]})
    assert per_row(samples, "full_tokens").tolist() == [5, 4]
    rows = [{"prompt": "p" * 40, "response": ["a", "b" * 20]}, {"prompt": "p", "response": ["a"]}]
    template = PromptResponse(too_long="shorten")
    audit = module(write, tokens, template, train=rows, validation=rows[1:]).report["splits"]["train"]
    assert (audit["shortened"], audit["truncated"]) == (1, 0.5), "by its second answer"


def test_rows_that_give_no_sample_are_no_duplicates_and_no_conflicts(write, tokens):
    kept = {"prompt": "fine", "response": "yes"}
    odd = [{"prompt": "q </s>", "response": answer} for answer in ("yes", "no")]
    options = {"on_bad_row": "skip", "duplicates": Duplicates(action="drop")}
    data = module(
        write, tokens, PromptResponse(), train=[kept, *odd], validation=[kept | {"prompt": "else"}, odd[0]], **options
    )
    report = data.report
    assert not any(report["duplicates"]["exact"].values()) and report["conflicts"]["texts"] == 0
    assert report["duplicates"]["dropped"] == 0 and report["splits"]["train"]["dropped"]["rows"] == 2


def test_a_conflict_is_found_before_its_training_side_is_removed(write, tokens):
    train = [{"text": "a b c", "label": 0}, {"text": "d e f", "label": 1}, {"text": "g h i", "label": 0}]
    held_out = [{"text": "a b c", "label": 1}]
    options = {"train": train, "validation": held_out, "duplicates": Duplicates(action="drop")}
    report = module(write, tokens, Classification(), "tiny://bert", **options).report
    assert report["conflicts"]["texts"] == 1 and report["duplicates"]["dropped"] == 1
    assert report["splits"]["train"]["rows"] == 2


def test_a_split_emptied_as_repeats_says_so(write, tokens):
    rows = [{"text": "a b c", "label": 0}, {"text": "d e f", "label": 1}]
    options = {"train": rows, "validation": rows, "duplicates": Duplicates(action="drop")}
    with pytest.raises(UserError, match="0 dropped, 2 removed since their texts stand in another split"):
        _ = module(write, tokens, Classification(), "tiny://bert", **options).report


def test_targets_beside_the_input_have_a_length_and_no_share(write, tokens):
    rows = [{"source": "a" * n, "target": "b" * (n * 7)} for n in (1, 2, 3)]
    data = module(write, tokens, TextToText(), "tiny://t5", train=rows, validation=rows[:1])
    audit = data.report["splits"]["train"]
    assert "supervised_share" not in audit
    assert audit["answer_length"] == {"p50": 15, "p90": 22, "p99": 22, "max": 22}
    assert "15.0 a row" in data.render_report()


def test_one_label_is_enough_for_sets_of_labels_and_makes_no_majority(write, tokens):
    rows = [{"text": f"word {n}", "labels": ["odd"] if n < 4 else []} for n in range(4)]
    data = module(write, tokens, MultiLabel(), "tiny://bert", train=rows, validation=rows[:1])
    assert data.label_names == ["odd"]
    assert data.report["majority"] is None, "though each row happens to have one label"
