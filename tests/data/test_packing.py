import itertools
import math

import numpy as np
import pytest
import torch

from finelab.contracts.batch import IGNORE
from finelab.contracts.errors import UserError
from finelab.data import Classification, Documents, TextDataModule
from finelab.data.loader_options import LoaderOptions
from finelab.data.pack_collator import FlatCollator, PackCollator
from finelab.data.packing import STRETCH, best_fit, pack

PAD = 9


def sample(number, length, **more):
    ids = np.arange(100 * number, 100 * number + length, dtype=np.int32)
    return {"sample_id": number, "source_id": number % 2, "input_ids": ids, "labels": ids.copy(), **more}


@pytest.mark.parametrize("context", [16, 64])
def test_every_sample_is_in_one_row_and_no_row_is_too_long(context):
    lengths = np.random.default_rng(0).integers(1, context + 1, 2000)
    rows = pack(lengths, context, seed=3)
    assert sorted(np.concatenate(rows)) == list(range(2000))
    assert max(lengths[row].sum() for row in rows) <= context
    again, other = pack(lengths, context, seed=3), pack(lengths, context, seed=4)
    assert all(np.array_equal(a, b) for a, b in zip(rows, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(rows, other, strict=False))


def test_the_rows_are_nearly_as_few_as_can_be():
    """Best fit decreasing takes at most 11/9 of the least number of rows (Johnson 1973), with short samples hardly
    more than the sum of lengths over the context."""
    lengths = np.random.default_rng(0).integers(1, 100, 3000)
    assert len(best_fit(lengths, 256)) <= math.ceil(lengths.sum() / 256) * 1.005
    assert len(best_fit(np.array([6, 5, 5, 4]), 10)) == 2
    assert [len(row) for row in best_fit(np.array([10, 10]), 10)] == [1, 1]


def test_long_splits_are_packed_in_stretches():
    lengths = np.full(STRETCH + 10, 4)
    rows = pack(lengths, 12, seed=0)
    assert len(rows) == math.ceil(STRETCH / 3) + math.ceil(10 / 3)


def test_a_packed_batch_says_where_each_sample_is():
    rows = [[sample(0, 3), sample(1, 2)], [sample(2, 1)]]
    batch = PackCollator(PAD)(rows)
    assert "attention_mask" not in batch
    assert batch["input_ids"].tolist() == [[0, 1, 2, 100, 101], [200, PAD, PAD, PAD, PAD]]
    assert batch["labels"].tolist() == [[IGNORE, 1, 2, IGNORE, 101], [IGNORE] * 5]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 0, 1, 2, 3]]
    assert batch["document"].tolist() == [[0, 0, 0, 1, 1], [2, -1, -1, -1, -1]]
    assert batch["sample_id"].tolist() == [0, 1, 2]
    assert batch["source_id"].tolist() == [0, 1, 0]
    assert {values.dtype for values in batch.values()} == {torch.int64}


def test_a_flat_batch_has_no_pad():
    batch = FlatCollator(PAD)([sample(0, 3, chars=5), sample(1, 2, chars=7)])
    assert batch["input_ids"].tolist() == [[0, 1, 2, 100, 101]]
    assert (batch["document"] >= 0).all()
    assert batch["chars"].tolist() == [5, 7]


@pytest.fixture
def module(write, rows, tokens):
    def make(template=None, rows_of=300, **changes):
        file = str(write("rows.jsonl", rows(rows_of)))
        settings = {"base": "tiny://llama", "context": 128, "batch_size": 4, "cache_dir": tokens}
        return TextDataModule(file, template or Documents(), **settings | changes)

    return make


def epoch(data, number=0):
    loader = data.train_dataloader()
    loader.batch_sampler.sampler.set_epoch(number)
    return list(loader)


@pytest.mark.parametrize("layout", ["packing", "padding_free"])
def test_an_epoch_has_the_same_samples_packed_or_not(module, layout):
    padded, packed = epoch(module()), epoch(module(loader=LoaderOptions(**{layout: True})))

    def tokens_of(batches):
        found = {}
        for batch in batches:
            documents = batch.get("document")
            for index, own in enumerate(batch["sample_id"].tolist()):
                at = documents == index if documents is not None else None
                at = (
                    at
                    if at is not None
                    else (torch.arange(len(batch["labels"])) == index)[:, None] & (batch["attention_mask"] == 1)
                )
                found[own] = batch["input_ids"][at].tolist(), batch["labels"][at].tolist()[1:]
        return found

    assert tokens_of(padded) == tokens_of(packed)
    if layout == "packing":
        assert len(packed) < len(padded) / 1.5
    else:
        assert len(packed) == len(padded)
        assert all(len(batch["input_ids"]) == 1 for batch in packed)


def test_an_epoch_shuffles_rows_and_keeps_their_number(module):
    data = module(loader=LoaderOptions(packing=True))
    first, second = ([b["sample_id"].tolist() for b in epoch(data, number)] for number in (0, 1))
    assert len(first) == len(second) == len(data.train_dataloader())
    assert first != second
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second))


def test_the_report_says_how_full_the_rows_are(module):
    data = module(loader=LoaderOptions(packing=True))
    (note,) = [note for note in data.report["notes"] if note.startswith("packed")]
    lengths, rows = data._datasets["train"].lengths, len(data.layout.rows)
    assert f"{len(lengths)} training samples in {rows} rows" in note
    assert f"{lengths.sum() / rows / 128:.1%} filled" in note
    assert lengths.sum() / rows / 128 > 0.9


def test_evaluation_is_never_packed(module):
    data = module(loader=LoaderOptions(packing=True))
    assert all("attention_mask" in batch for batch in data.val_dataloader())


@pytest.mark.parametrize("layout", ["packing", "padding_free"])
def test_only_language_model_samples_share_rows(module, layout):
    data = module(template=Classification(), base="tiny://bert", loader=LoaderOptions(**{layout: True}))
    with pytest.raises(UserError, match=f"{layout} is true, and the targets of Classification"):
        data.train_dataloader()


def test_packing_and_padding_free_exclude_each_other():
    with pytest.raises(UserError, match="packing and padding_free"):
        LoaderOptions(packing=True, padding_free=True)
