"""The batches that are tried before training: the longest rows in the layout of training, and no draw is shifted."""

import json

import pytest
import torch

from finelab.contracts.data import RehearsalSource
from finelab.data import (
    Documents,
    LoaderOptions,
    MixtureDataModule,
    MultipleChoice,
    PromptResponse,
    StreamingTextDataModule,
    TextDataModule,
    TextToText,
)
from finelab.data.mixture_specs import SourceSpec
from finelab.data.splits import Fractions

COUNT = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    for split, count in (("train", COUNT), ("validation", 9)):
        with open(folder / f"{split}.jsonl", "w") as file:
            for i in range(count):
                text = "ab " * (1 + i * 7 % 11)
                own = {"prompt": text, "response": "yes", "source": text, "target": text, "text": text}
                own |= {"question": text, "choices": ["a", "bb", text], "answer": i % 3}
                file.write(json.dumps(own) + "\n")
    return folder


def module(folder, template, kind=TextDataModule, base="tiny://llama", **options):
    return kind(str(folder), template, base, batch_size=4, cache_dir=str(folder / "cache"), **options)


def width(batch) -> int:
    return batch["input_ids"].flatten(0, -2).shape[-1]


@pytest.mark.parametrize("bucketing", [True, False])
def test_the_longest_rows_and_a_typical_batch(folder, bucketing) -> None:
    data = module(folder, PromptResponse(), loader=LoaderOptions(bucketing=bucketing))
    state = torch.get_rng_state()
    found, held_out = data.rehearsal("train"), data.rehearsal("validation")
    assert torch.equal(torch.get_rng_state(), state)
    lengths = sorted(data.samples("train").lengths, reverse=True)
    assert sorted(found.longest["attention_mask"].sum(1).tolist(), reverse=True) == lengths[:4]
    sizes = [batch["input_ids"].numel() for batch in data.train_dataloader()]
    mean = sum(sizes) / len(sizes)
    assert found.typical["input_ids"].numel() == min(sizes, key=lambda size: abs(size - mean))
    assert len(found.sample["input_ids"]) == COUNT
    assert width(held_out.longest) == max(data.samples("validation").lengths)
    assert len(held_out.longest["input_ids"]) == 5, "nine rows in two batches of at most eight"


def test_in_the_layout_of_training(folder) -> None:
    packed = module(folder, PromptResponse(), loader=LoaderOptions(packing=True)).rehearsal("train")
    assert "document" in packed.longest and "document" not in packed.sample
    flat = module(folder, PromptResponse(), loader=LoaderOptions(padding_free=True)).rehearsal("train")
    assert len(flat.longest["input_ids"]) == 1 and len(flat.longest["sample_id"]) == 4


@pytest.mark.parametrize(
    ("template", "base"),
    [(Documents(), "tiny://llama"), (TextToText(), "tiny://t5"), (MultipleChoice(), "tiny://bert")],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_of_other_targets(folder, template, base) -> None:
    data = module(folder, template, base=base)
    assert isinstance(data, RehearsalSource)
    found = data.rehearsal("train")
    assert width(found.longest) == width(found.sample) >= width(found.typical)


def test_of_a_mixture(folder) -> None:
    data = MixtureDataModule(
        {name: SourceSpec(str(folder)) for name in "ab"},
        "tiny://llama",
        PromptResponse(),
        batch_size=4,
        cache_dir=str(folder / "cache"),
    )
    assert isinstance(data, RehearsalSource)
    found = data.rehearsal("train")
    assert set(found.sample["source_id"].tolist()) == {0, 1}
    assert width(found.longest) == width(found.sample)
    assert data.rehearsal("validation") is not None


@pytest.mark.parametrize("packing", [False, True])
def test_of_a_stream(folder, packing) -> None:
    """Of its first chunk; a pass over it afterwards is the same as without."""
    loader = LoaderOptions(packing=packing)
    data = module(folder, PromptResponse(), StreamingTextDataModule, loader=loader, context=96)
    before = [batch["sample_id"].tolist() for batch in data.train_dataloader()]
    found = data.rehearsal("train")
    assert ("document" in found.longest) == packing
    assert width(found.longest) >= width(found.typical)
    assert [batch["sample_id"].tolist() for batch in data.train_dataloader()] == before
    assert data.rehearsal("validation") is not None


def test_no_split(folder) -> None:
    only = TextDataModule(
        {"train": str(folder / "train.jsonl")},
        PromptResponse(),
        "tiny://llama",
        splits=Fractions(0, 0),
        cache_dir=str(folder / "cache"),
    )
    assert only.rehearsal("validation") is None
