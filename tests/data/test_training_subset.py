from itertools import pairwise

import numpy as np
import pytest

from finelab.contracts.errors import UserError
from finelab.data import Canaries, Classification, Documents, MixtureDataModule, TextDataModule
from finelab.data.mixture_specs import SourceSpec
from finelab.data.streaming_text_data_module import StreamingTextDataModule
from finelab.data.training_subset import TrainingSubset


@pytest.fixture
def module(write, rows, tokens):
    """A data module over 100 made-up rows, 80 of them to train on, whose arguments may be changed."""
    file = str(write("rows.jsonl", rows(100)))

    def make(kind=TextDataModule, **changes):
        settings = {"source": file, "template": Classification(), "base": "tiny://bert", "cache_dir": tokens}
        return kind(**settings | {"context": 128, "batch_size": 8, **changes})

    return make


def texts_of(data, split="train"):
    samples = data.samples(split)
    return [tuple(samples[index]["input_ids"].tolist()) for index in range(len(samples))]


def order_of(data):
    return [tuple(ids.tolist()) for batch in data.train_dataloader() for ids in batch["input_ids"]]


def test_rows_are_nested_over_sizes_and_other_ones_for_another_seed(module):
    sets = [set(texts_of(module(train_rows=size))) for size in (8, 16, 40, 80)]
    assert [len(own) for own in sets] == [8, 16, 40, 80]
    assert all(small < large for small, large in pairwise(sets))
    assert sets[-1] == set(texts_of(module()))
    # The seed also splits the file here, so a source with splits of its own says whether the draw alone differs.
    draws = [set(TrainingSubset(16, seed).rows(80).tolist()) for seed in (1, 2)]
    assert draws[0] != draws[1]


def test_draws_are_uniform_over_seeds():
    counts = np.zeros(20)
    for seed in range(2000):
        counts[TrainingSubset(5, seed).rows(20)] += 1
    expected = 2000 * 5 / 20
    assert ((counts - expected) ** 2 / (expected * 0.75)).sum() < 43.8  # chi-squared, 19 degrees of freedom: p > 0.001


def test_whatever_is_no_training_row_is_untouched(module):
    whole, part = module(), module(train_rows=10)
    for split in ("validation", "test"):
        assert texts_of(part, split) == texts_of(whole, split)
        assert part.report["splits"][split] == whole.report["splits"][split]
    assert part.label_names == whole.label_names


def test_an_epoch_has_so_many_rows_in_the_same_order_in_every_arm(module):
    first, second = module(train_rows=24, seed=3), module(train_rows=24, seed=3)
    second.evaluation_loader("validation")
    assert order_of(first) == order_of(second) != order_of(module(train_rows=24, seed=4))
    assert len(first.train_dataloader()) == 3
    ids = [id for batch in first.train_dataloader() for id in batch["sample_id"].tolist()]
    assert sorted(ids) == list(range(24))


def test_tokens_are_made_once_for_all_sizes(module, tmp_path):
    whole = module()
    assert whole.report["cache"] == "tokens built"
    assert module(train_rows=10).report["cache"] == module(train_rows=20).report["cache"] == "tokens cached"


def test_the_fingerprint_and_the_report_say_so(module):
    prints = [module(train_rows=size).fingerprint for size in (None, 10, 20)]
    assert len(set(prints)) == 3
    assert module().fingerprint == module()._preparation.fingerprint(), "unchanged without a subset"
    report = module(train_rows=10).report
    assert report["subset"] == {"rows": 10, "of": 80, "seed": 1, "labels_without_rows": []}
    audit = report["splits"]["train"]
    assert audit["rows"] == audit["samples"] == sum(audit["labels"].values()) == 10
    assert audit["tokens"] == sum(map(len, texts_of(module(train_rows=10))))
    assert report["majority"]["accuracy"]["train"] == max(audit["labels"].values()) / 10
    assert "10 of 80 training rows, by the data seed 1" in module(train_rows=10).render_report()
    assert "subset" not in module().report


def test_all_rows_by_number_are_audited_as_without_it(module):
    assert module(train_rows=80).report["splits"] == module().report["splits"]


def test_a_class_without_a_row_keeps_its_place(module, write, rows):
    made = [row | {"label": 2, "label_text": "rare"} if n == 0 else row for n, row in enumerate(rows(60))]
    source = {"train": str(write("train.jsonl", made)), "validation": str(write("validation.jsonl", rows(10, 60)))}
    data = module(source=source, train_rows=4)
    assert data.label_names == ["no", "yes", "rare"]
    assert data.report["subset"]["labels_without_rows"] == ["rare"]
    assert "no row of rare, which stay classes" in data.report["notes"][0]


def test_documents_are_drawn_whole(write, tokens):
    made = [{"text": f"tale {n} " * (5 + 10 * n)} for n in range(8)]
    source = {"train": str(write("train.jsonl", made)), "validation": str(write("validation.jsonl", made[:2]))}
    settings = {"base": "tiny://llama", "context": 32, "batch_size": 2, "cache_dir": tokens, "seed": 2}
    whole = TextDataModule(source, Documents(), **settings)
    part = TextDataModule(source, Documents(), train_rows=3, **settings)
    wanted = TrainingSubset(3, 2).rows(8)
    documents = whole.document_of("train", np.arange(len(whole.samples("train"))))
    expected = [
        text
        for text, row in zip(texts_of(whole), np.unique(documents, return_inverse=True)[1], strict=True)
        if row in wanted
    ]
    assert texts_of(part) == expected
    own = part.document_of("train", np.arange(len(expected)))
    assert len(np.unique(own)) == 3
    audit = part.report["splits"]["train"]
    assert audit["rows"] == 3 and audit["samples"] == len(expected)


def test_one_source_of_a_mixture(module, write, rows, tokens):
    files = {name: str(write(f"{name}.jsonl", rows(60, start))) for name, start in (("a", 0), ("b", 60))}
    sources = {"a": SourceSpec(files["a"], train_rows=12), "b": SourceSpec(files["b"])}
    settings = {"base": "tiny://bert", "template": Classification(), "context": 32, "batch_size": 8}
    data = MixtureDataModule(sources, cache_dir=tokens, **settings)
    assert data.counts == {"a": 12, "b": 48}
    batches = list(data.train_dataloader())
    assert sum(len(batch["labels"]) for batch in batches) == 60
    assert len({id for batch in batches for id in batch["sample_id"].tolist()}) == 60
    alone = module(source=files["a"], context=32, train_rows=12)
    assert set(texts_of(data.parts["a"])) == set(texts_of(alone))
    with pytest.raises(UserError, match="eval_sets: b has train_rows"):
        MixtureDataModule({"a": sources["a"]}, eval_sets={"b": sources["a"]}, **settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"train_rows": 81}, "the source has 80 usable training rows"), ({"train_rows": 0}, "at least 1")],
)
def test_what_cannot_be_drawn_is_refused(module, changes, message):
    with pytest.raises(UserError, match=message):
        module(**changes).setup("fit")


def test_a_stream_and_canaries_have_no_subset(module, write, rows):
    with pytest.raises(UserError, match="a stream does not know its rows"):
        module(StreamingTextDataModule, train_rows=5)
    source = {"train": str(write("t.jsonl", rows(10))), "validation": str(write("v.jsonl", rows(5, 10)))}
    with pytest.raises(UserError, match="leave some of the canaries out"):
        module(source=Canaries(source), template=Documents(), base="tiny://llama", train_rows=5)


def test_predicting_needs_no_training_rows(module):
    data = module(train_rows=10)
    data.use_labels(["no", "yes"])
    data.setup("validate")
    assert "train" not in data.report["splits"] and "subset" not in data.report
    assert len(list(data.val_dataloader())) == 1
