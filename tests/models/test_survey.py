"""Which training rows a method looks at before the first step: a fair sample of all of them, with any data module."""

import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

from finelab.contracts.errors import UserError
from finelab.data import Classification, MixtureDataModule, StreamingTextDataModule, TextDataModule
from finelab.data.mixture_specs import SourceSpec
from finelab.data.splits import Fractions
from finelab.models import SequenceClassifier
from finelab.models.adapters import Full
from finelab.models.regularizers import ChildTuning
from finelab.models.survey import TrainingSurvey


@pytest.fixture
def options(tmp_path):
    none = Fractions(validation=0, test=0)
    return {
        "base": "tiny://bert",
        "context": 128,
        "batch_size": 4,
        "cache_dir": str(tmp_path / "tokens"),
        "splits": none,
    }


@pytest.fixture
def source(tmp_path):
    """Rows sorted by length and by class."""

    def write(name, count):
        texts = [f"{name}{number} " + "word " * (1 + number // 10) for number in range(count)]
        rows = [{"text": text, "label": int(number >= count // 2)} for number, text in enumerate(texts)]
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return {"train": str(file)}

    return write


@pytest.fixture
def looked(options):
    """The rows that each of so many ranks sees."""

    def look(data, limit, ranks=1):
        data.setup("fit")
        strategy = SimpleNamespace(batch_to_device=lambda batch: batch)
        found = []
        for rank in range(ranks):
            data.trainer = trainer = SimpleNamespace(
                datamodule=data, world_size=ranks, global_rank=rank, strategy=strategy
            )
            module: Any = SimpleNamespace(trainer=trainer)
            found.append(list(TrainingSurvey(module, "method").rows(limit)))
        return found

    return look


def test_rows_are_a_fair_sample_of_unequal_lengths_and_classes(options, source, looked):
    data = TextDataModule(source("a", 200), Classification(), **options)
    (rows,) = looked(data, 64)
    lengths = torch.tensor([row["input_ids"].shape[1] for row in rows]).float()
    every = torch.as_tensor(data.samples("train").lengths).float()
    assert [row["attention_mask"].all().item() for row in rows] == [True] * 64
    assert len({row["sample_id"].item() for row in rows}) == 64
    assert abs(lengths.mean() - every.mean()) < 3 * every.std() / 8
    assert lengths.min() < every.quantile(0.1)
    assert lengths.max() > every.quantile(0.9)
    labels = Counter(row["labels"].item() for row in rows)
    assert min(labels.values()) > 16


def test_ranks_share_the_rows_of_one(options, source, looked):
    data = TextDataModule(source("a", 50), Classification(), **options)
    ids = [[row["sample_id"].item() for row in rows] for rows in (*looked(data, 20), *looked(data, 20, ranks=2))]
    assert [len(each) for each in ids] == [20, 10, 10]
    assert ids[0][::2] == ids[1] and ids[0][1::2] == ids[2]
    assert sum(map(len, looked(data, 1000, ranks=2))) == 50


def test_the_sources_of_a_mixture_come_by_their_rows_and_not_by_their_weights(options, source, looked):
    sources = {name: SourceSpec(source(name, count), weight=1.0) for name, count in (("a", 150), ("b", 50))}
    (rows,) = looked(MixtureDataModule(sources, template=Classification(names=["no", "yes"]), **options), 100)
    found = Counter(row["source_id"].item() for row in rows)
    assert found[0] + found[1] == 100
    assert abs(found[0] - 75) < 13  # three standard deviations


def test_a_stream_is_refused_by_the_methods_name_before_anything_is_evaluated(options, source, tmp_path, sgd):
    class Reached(L.Callback):
        def on_train_start(self, trainer, pl_module):
            raise AssertionError("the baseline is evaluated here")

    files = source("a", 20) | {"validation": source("b", 8)["train"]}
    template = Classification(names=["no", "yes"])

    def fit(mode):
        data = StreamingTextDataModule(
            files, template, buffer=10, **{k: v for k, v in options.items() if k != "splits"}
        )
        module = SequenceClassifier("tiny://bert", Full(), sgd, [ChildTuning(0.5, mode=mode)], labels=["no", "yes"])
        settings = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "max_epochs": -1}
        settings |= {"enable_checkpointing": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
        settings |= {"max_steps": 1, "limit_val_batches": 0, "use_distributed_sampler": False}
        L.Trainer(**settings, callbacks=[Reached()] if mode == "D" else []).fit(module, datamodule=data)

    with pytest.raises(UserError, match=r"regularizers: ChildTuning looks at.*StreamingTextDataModule gives none"):
        fit("D")
    fit("F")
