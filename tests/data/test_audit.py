import gzip
import json
import re

import numpy as np
import pytest

from finelab.contracts.batch import IGNORE
from finelab.data import Classification, Documents, TextDataModule

BASE = "tiny://bert"


def texts_of(folder, split):
    lines = gzip.decompress((folder / f"{split}.jsonl.gz").read_bytes()).decode().splitlines()
    return [json.loads(line) for line in lines]


def test_known_duplicates_of_sst2_are_found(shared_data, tokens):
    folder = shared_data("sst2")
    data = TextDataModule(str(folder), Classification(), BASE, cache_dir=tokens)
    rows = {split: texts_of(folder, split) for split in ("train", "validation", "test")}
    report = data.report
    assert report["duplicates"]["exact"]["test in train"] == 2
    assert report["duplicates"]["exact"]["validation in train"] == 0
    assert data.label_names == ["negative", "positive"]
    for split, own in rows.items():
        audit = report["splits"][split]
        assert audit["rows"] == audit["supervised"] == len(own)
        assert audit["labels"] == {name: sum(row["label_text"] == name for row in own) for name in data.label_names}
        lengths = np.array([len(row["text"].encode()) + 2 for row in own])
        assert audit["truncated"] == pytest.approx((lengths > 128).mean())
        assert audit["tokens"] == np.minimum(lengths, 128).sum()
        assert audit["length"]["max"] == lengths.max()
        assert audit["length"]["p50"] == np.sort(lengths)[len(lengths) // 2]
    assert json.loads(json.dumps(report)) == report


def test_known_duplicates_of_trec_are_found_on_both_sides_of_the_cut(shared_data, tokens):
    """11 distinct test texts stand in the official training split, part of which became validation."""
    data = TextDataModule(str(shared_data("trec")), Classification(), BASE, cache_dir=tokens)
    counts = data.report["duplicates"]["exact"]
    assert counts["test in train"] + counts["test in validation"] == 11
    assert {split: audit["rows"] for split, audit in data.report["splits"].items()} == {
        "train": 4907,
        "validation": 545,
        "test": 500,
    }


@pytest.mark.parametrize("overlap", [1, 64])
def test_all_characters_of_the_tales_are_scored_once(shared_data, shared_model, tokens, overlap):
    folder = shared_data("grimm_tales")
    base = str(shared_model("stories260K"))
    data = TextDataModule(str(folder), Documents(overlap=overlap), base, context=256, batch_size=16, cache_dir=tokens)
    for split, audit in data.report["splits"].items():
        texts = [row["text"] for row in texts_of(folder, split)]
        assert audit["chars"] == audit["chars_scored"] == sum(map(len, texts))
        assert audit["bytes"] == sum(len(text.encode()) for text in texts)
        assert audit["chars_scored_share"] == 1.0
        ids = [data.tokenizer.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] for text in texts]
        assert audit["supervised"] == sum(map(len, ids))
        assert audit["length"]["max"] == max(map(len, ids)) + 1
        batches = list(data.evaluation_loader(split))
        assert sum(int(batch["chars"].sum()) for batch in batches) == audit["chars"]
        assert sum(int(batch["bytes"].sum()) for batch in batches) == audit["bytes"]
        assert sum(int((batch["labels"] != IGNORE).sum()) for batch in batches) == audit["supervised"]
    assert data.report["pad"] == "<unk> (its own)"
    assert "characters scored  train 100.00%" in data.render_report()


def test_what_cannot_be_scored_is_said(write, tokens):
    file = write("train.jsonl", [{"text": "abcdefghij"}])
    data = TextDataModule({"train": str(file)}, Documents(), BASE, cache_dir=tokens, splits=no_splits())
    assert data.report["splits"]["train"]["chars_scored_share"] == 0.9
    assert "no BOS or EOS" in " ".join(data.render_report().split())


def no_splits():
    from finelab.data.splits import Fractions

    return Fractions(0, 0)


def test_rejected_rows_are_counted_and_listed_by_line(write, rows, tokens):
    lines = [*rows(30), {"text": ""}, {"label": 1}, {"text": "a"}, {"text": 4, "label": 1}, *rows(10, 60)]
    file = write("rows.jsonl", [*lines, *[{"text": "", "label": 0}] * 6])
    data = TextDataModule(str(file), Classification(), BASE, cache_dir=tokens, on_bad_row="skip")
    dropped = data.report["splits"]["train"]["dropped"]
    assert dropped["rows"] == 10
    assert dropped["reasons"]["the text in column 'text' is empty"] == 7
    assert [re.search(r":(\d+): ", line).group(1) for line in dropped["first"]] == ["31", "32", "33", "34", "45"]
    assert sum(audit["rows"] for audit in data.report["splits"].values()) == 40
    text = data.render_report()
    assert "dropped  train 10 rows" in text
    assert "rows.jsonl:31:" in text  # a line may end behind it


def test_the_page_is_short_and_fits_a_terminal(shared_data, shared_model, tokens):
    pages = [TextDataModule(str(shared_data("banking77")), Classification(), BASE, cache_dir=tokens).render_report()]
    base = str(shared_model("stories260K"))
    pages.append(TextDataModule(str(shared_data("grimm_tales")), Documents(), base, cache_dir=tokens).render_report())
    for page in pages:
        lines = page.splitlines()
        assert len(lines) <= 19
        assert max(map(len, lines)) <= 100
        assert "«" in page and "»" in page
        assert "duplicates" in page
