import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerState

from finelab.contracts.batch import IGNORE, MODEL_INPUTS
from finelab.contracts.errors import UserError
from finelab.data import Classification, Documents, TextDataModule
from finelab.data.text_data_module import LoaderOptions


@pytest.fixture
def module(write, rows, tokens):
    """A data module over 100 made-up rows, whose arguments may be changed."""
    file = str(write("rows.jsonl", rows(100)))

    def make(**changes):
        settings = {"source": file, "template": Classification(), "base": "tiny://bert", "cache_dir": tokens}
        return TextDataModule(**settings | {"context": 32, "batch_size": 8, **changes})

    return make


def ids_of(loader):
    return [batch["sample_id"].tolist() for batch in loader]


def on_rank(data, rank, world_size):
    data.trainer = SimpleNamespace(state=TrainerState(), global_rank=rank, world_size=world_size)
    return data


def test_labels_are_known_after_construction_and_splits_come_from_fractions(module):
    data = module()
    assert data.label_names == ["no", "yes"]
    rows = {split: audit["rows"] for split, audit in data.report["splits"].items()}
    assert rows == {"train": 80, "validation": 10, "test": 10}
    assert data.report["splits"]["validation"]["labels"] == {"no": 5, "yes": 5}


def test_batches_keep_the_contract(module):
    data = module(loader=LoaderOptions(bucketing=False), context=128)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert set(batch) == {"input_ids", "attention_mask", "labels", "sample_id", "source_id"}
    assert set(batch) & set(MODEL_INPUTS) == {"input_ids", "attention_mask"}
    assert batch["labels"].shape == (8,)
    pads = batch["attention_mask"] == 0
    assert (batch["input_ids"][pads] == data.tokenizer.pad_id).all()
    assert pads.any() and not pads[:, 0].any()
    assert (pads[:, 1:] >= pads[:, :-1]).all(), "pads are on the right"


@pytest.mark.parametrize("workers", [0, 2])
def test_global_steps_do_not_depend_on_ranks_workers_or_what_else_is_read(module, workers):
    reference = module(loader=LoaderOptions(bucketing=True))
    expected = [set(ids) for ids in ids_of(reference.train_dataloader())]
    torch.manual_seed(workers)
    np.random.seed(workers)
    list(reference.evaluation_loader("validation"))
    options = LoaderOptions(num_workers=workers)
    parts = [ids_of(on_rank(module(batch_size=4, loader=options), rank, 2).train_dataloader()) for rank in range(2)]
    assert [set(a) | set(b) for a, b in zip(*parts, strict=True)] == expected
    assert ids_of(module(loader=options).train_dataloader()) == ids_of(reference.train_dataloader())
    assert ids_of(module(seed=2).train_dataloader()) != ids_of(reference.train_dataloader())


@pytest.mark.parametrize("workers", [0, 2])
def test_no_loader_touches_a_global_generator(module, write, workers):
    data = module(loader=LoaderOptions(num_workers=workers))
    data.predict_input = str(write("in.jsonl", [{"text": "a"}, {"text": "b"}]))
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    for loader in (
        data.train_dataloader(),
        data.val_dataloader(),
        data.test_dataloader(),
        data.evaluation_loader("train"),
        data.predict_dataloader(),
    ):
        assert len(list(loader)) == len(loader) > 0
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == before_numpy).all()


def test_evaluation_sees_all_rows_once_over_the_ranks_at_any_batch_size(module):
    for world_size in (1, 2, 4):
        for size in (1, 7, 32):
            seen = [
                row
                for rank in range(world_size)
                for batch in ids_of(
                    on_rank(
                        module(loader=LoaderOptions(evaluation_batch_size=size)), rank, world_size
                    ).evaluation_loader("train")
                )
                for row in batch
            ]
            assert sorted(seen) == list(range(80))


def test_splits_that_are_not_there(module, write, rows):
    source = {"train": str(write("a.jsonl", rows(20))), "validation": str(write("b.jsonl", rows(5, 50)))}
    data = module(source=source)
    assert data.evaluation_loader("test") is None
    with pytest.raises(UserError, match="has no test split"):
        data.test_dataloader()
    with pytest.raises(UserError, match="has no train split"):
        module(source={"test": source["train"]}, template=Documents()).train_dataloader()


def test_a_label_that_train_has_not_is_an_error_at_its_line(module, write, rows):
    train = write("a.jsonl", rows(20))
    test = write("b.jsonl", [*rows(3, 50), {"text": "new", "label": 2, "label_text": "perhaps"}])
    source = {"train": str(train), "test": str(test)}
    with pytest.raises(
        UserError, match=r"b\.jsonl:4: unknown label 'perhaps' \(training labels: no, yes; this split's"
    ):
        module(source=source).setup("fit")
    report = module(source=source, on_bad_row="skip").report
    assert report["splits"]["test"]["rows"] == 3
    assert report["splits"]["test"]["dropped"]["reasons"] == {"unknown label 'perhaps'": 1}


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_a_split_without_supervised_tokens_is_always_an_error(module, write, rows, policy):
    empty = write("empty.jsonl", [])
    train = write("a.jsonl", rows(20))
    with pytest.raises(UserError, match="the validation split has no supervised token"):
        module(source={"train": str(train), "validation": str(empty)}, on_bad_row=policy).setup("fit")
    single = write("one.jsonl", [{"text": "a"}])
    with pytest.raises(UserError, match="the test split has no supervised token"):
        module(source={"test": str(single)}, template=Documents(), on_bad_row=policy).setup("fit")


def test_one_class_is_no_classification(module, write, rows):
    with pytest.raises(UserError, match=r"label\(s\) \['no'\]; a classifier needs two"):
        module(source=str(write("a.jsonl", rows(20)[::2]))).setup("fit")


def test_a_second_start_neither_reads_nor_tokenizes(module, monkeypatch):
    first = module()
    assert first.report["cache"] == "tokens built"
    monkeypatch.setattr(Classification, "read", lambda *_: pytest.fail("read"))
    monkeypatch.setattr(Classification, "encode", lambda *_: pytest.fail("tokenized"))
    second = module()
    assert second.report["cache"] == "tokens cached"
    assert second.label_names == first.label_names
    assert ids_of(second.train_dataloader()) == ids_of(first.train_dataloader())
    assert {**second.report, "cache": ""} == {**first.report, "cache": ""}


def test_whatever_tokens_depend_on_changes_their_key(module, write, rows):
    def key(**changes):
        data = module(**changes)
        return data._preparation.key(data.fingerprint)

    other = rows(100)
    other[50] = other[50] | {"text": "another"}
    changes = [
        {},
        {"base": "tiny://llama"},
        {"context": 33},
        {"template": Classification(label_text="name")},
        {"template": Documents()},
        {"template": Documents(overlap=2)},
        {"source": str(write("other.jsonl", other))},
        {"seed": 2},
        {"on_bad_row": "skip"},
    ]
    assert len({key(**change) for change in changes}) == len(changes)
    assert key() == key(batch_size=3, loader=LoaderOptions(bucketing=False))
    assert key() == key(source=str(write("same/rows.jsonl", rows(100))))


def test_the_seed_is_no_part_of_the_key_where_nothing_is_split(module, write, rows):
    source = {split: str(write(f"{split}.jsonl", rows(20, start))) for split, start in (("train", 0), ("val", 30))}
    assert module(source=source, seed=1).fingerprint == module(source=source, seed=2).fingerprint


def test_damaged_tokens_are_made_anew_and_the_report_says_so(module):
    first = module()
    [arrow] = (first._entry.folder / "train").glob("*.arrow")
    content = bytearray(arrow.read_bytes())
    content[len(content) // 2] ^= 1
    arrow.unlink()
    arrow.write_bytes(content)
    second = module()
    assert second.report["cache"].startswith("tokens rebuilt: train/")
    assert "had changed" in second.render_report()
    assert ids_of(second.train_dataloader()) == ids_of(first.train_dataloader())


def test_predict_keeps_ids_and_order(module, write):
    data = module(loader=LoaderOptions(evaluation_batch_size=2))
    data.predict_input = str(
        write("in.jsonl", [{"text": "long " * 5, "id": "b"}, {"text": "x", "id": 7}, {"text": "y"}])
    )
    batches = list(data.predict_dataloader())
    assert data.predict_ids == ["b", 7, 3]
    assert [batch["sample_id"].tolist() for batch in batches] == [[0, 1], [2]]
    tokenizer = data.tokenizer.tokenizer
    first = batches[0]["input_ids"][0, : int(batches[0]["attention_mask"][0].sum())]
    assert first.tolist() == tokenizer("long " * 5)["input_ids"]


def test_predict_on_bad_rows(module, write):
    data = module()
    data.predict_input = str(write("in.jsonl", [{"text": "a"}, {"txt": "b"}, {"text": "c"}]))
    with pytest.raises(UserError, match=r"in\.jsonl:2: no column 'text'"):
        data.predict_dataloader()
    skipping = module(on_bad_row="skip")
    skipping.predict_input = data.predict_input
    with pytest.warns(
        UserWarning, match=r"1 rows of the input get no prediction \(no column 'text' 1\).*in\.jsonl:2: "
    ):
        skipping.predict_dataloader()
    assert skipping.predict_ids == [1, 3]
    with pytest.raises(UserError, match="nothing to predict"):
        module().predict_dataloader()


def test_an_id_that_cannot_be_written_is_a_bad_row_and_a_blank_one_is_none(module, write):
    data = module()
    rows = [{"text": "a", "id": " "}, {"text": "b", "id": "\ud83d"}]
    data.predict_input = str(write("in.jsonl", rows))
    with pytest.raises(UserError, match=r"in\.jsonl:2: the text in column 'id' is not valid Unicode"):
        data.predict_dataloader()
    data.predict_input = str(write("in.jsonl", rows[:1]))
    data.predict_dataloader()
    assert data.predict_ids == [1]


def test_documents_to_predict_have_one_id_per_window(module, write):
    data = module(template=Documents(), base="tiny://llama", context=8)
    data.predict_input = str(write("in.jsonl", [{"text": "abcdefghij", "id": "d"}, {"text": "xyz", "id": "e"}]))
    [batch] = data.predict_dataloader()
    assert (data.predict_ids, data.predict_rows) == (["d", "e"], [0, 0, 1])
    assert batch["chars"].tolist() == [7, 3, 3]
    assert (batch["labels"] != IGNORE).sum() == 13


@pytest.mark.parametrize(("texts", "expected"), [(["a", "bc", "d"], [1]), (["a"], [])])
def test_a_document_without_a_window_is_still_a_row(module, write, texts, expected):
    from finelab.scripts.predictions import left_out, whole_examples

    data = module(template=Documents())  # this base starts documents with nothing, so one token alone has no target
    data.predict_input = str(write("in.jsonl", [{"text": text, "id": "same"} for text in texts]))
    batches = list(data.predict_dataloader())
    assert [len(batch["labels"]) for batch in batches] == [1] * len(expected)
    assert (data.predict_ids, data.predict_rows) == (["same"] * len(texts), expected)
    samples = [{"nll": 2.0, "tokens": 1} for _ in expected]
    found = whole_examples(data.predict_ids, data.predict_rows, samples, left_out(samples, False))
    assert [row["tokens"] for _, row in found] == [int(position in expected) for position in range(len(texts))]


def test_edited_code_changes_the_key(module, tmp_path, monkeypatch):
    """A constant beside the class, a base class in another file, and a data module of one's own."""
    base = "from finelab.data.sources import Source\nMASK = 'a'\nclass Base(Source):\n    name = 'own'\n"
    own = (
        "from finelab.data import TextDataModule, Classification\nfrom own_base import Base\nAREAS = 1\n"
        "class Own(Base):\n    def splits(self): return ['train']\n    def digest(self): return 'x'\n"
        "    def read(self, split, reject): return iter(())\nclass Template(Classification): pass\n"
    )
    files = {"own_base": base, "own_source": own, "own_module": "from finelab.data import TextDataModule\n"}
    files["own_module"] += "class Module(TextDataModule): pass\nSPLIT = 1\n"
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    import own_module  # pyright: ignore[reportMissingImports]
    import own_source  # pyright: ignore[reportMissingImports]

    def key():
        data = own_module.Module(own_source.Own(), own_source.Template(), "tiny://bert", cache_dir=str(tmp_path / "t"))
        return data._preparation.key(data.fingerprint)

    keys = [key()]
    assert key() == keys[0]
    for name, old, new in (
        ("own_base", "'a'", "'b'"),
        ("own_source", "AREAS = 1", "AREAS = 2"),
        ("own_module", "1", "2"),
    ):
        (tmp_path / f"{name}.py").write_text(files[name].replace(old, new))
        keys.append(key())
    assert len(set(keys)) == 4


def test_the_key_covers_every_file_of_the_package(monkeypatch):
    from pathlib import Path

    from finelab.data import preparation

    plain = preparation.code_digests(())
    for name in ("areas.py", "docstrings.py", "splits.py"):
        read = Path.read_bytes
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda file, own=name, read=read: read(file) + b"#" * (file.name == own))
            assert preparation.code_digests(()) != plain, name


def test_a_checkpoints_classes_keep_the_training_split_unread(module, write, rows):
    source = {
        split: str(write(f"{split}.jsonl", rows(20, start)))
        for split, start in (("train", 0), ("val", 90), ("test", 30))
    }
    write("test.jsonl", [row for row in rows(20, 30) if row["label"] == 1])
    data = module(source=source)
    data.use_labels(["yes", "maybe", "no"])
    data.source.files["train"].write_text("no JSON")
    data.setup("test")
    assert {label for batch in data.test_dataloader() for label in batch["labels"].tolist()} == {0}
    assert data.label_names == ["yes", "maybe", "no"]
    absent = module(source="nowhere.jsonl")
    absent.use_labels(["yes", "no"])
    absent.predict_input = source["test"]
    absent.setup("predict")
    assert len(list(absent.predict_dataloader())) == 1


def test_given_classes_keep_the_training_split(module, write, rows):
    """That the classes are known says nothing about whether the training rows are wanted."""
    data = module()
    data.fix_labels(["yes", "maybe", "no"])
    assert data.label_names == ["yes", "maybe", "no"]
    labels = {
        int(i): int(k)
        for batch in data.train_dataloader()
        for i, k in zip(batch["sample_id"], batch["labels"], strict=True)
    }
    own = module()
    for batch in own.train_dataloader():
        for i, k in zip(batch["sample_id"], batch["labels"], strict=True):
            assert data.label_names[labels[int(i)]] == own.label_names[k]
    assert len(labels) == 80


def test_a_language_model_s_checkpoint_keeps_the_training_split_unread_too(module, write, rows):
    source = {split: str(write(f"{split}.jsonl", rows(20, start))) for split, start in (("train", 0), ("test", 30))}
    data = module(source=source | {"val": source["test"]}, template=Documents(), base="tiny://llama")
    data.use_labels(None)
    data.source.files["train"].write_text("no JSON")
    data.setup("test")
    assert data.label_names is None
    assert len(list(data.test_dataloader())) > 0 and data.evaluation_loader("train") is None


def test_a_source_without_splits_is_cut_as_it_was_for_training(module):
    data = module()
    again = module()
    again.use_labels(["no", "yes"])
    for one, other in zip(data.evaluation_loader("test"), again.evaluation_loader("test"), strict=True):
        assert torch.equal(one["input_ids"], other["input_ids"]) and torch.equal(one["labels"], other["labels"])


@pytest.mark.parametrize(
    ("positions", "model_max_length", "limit"), [(40, None, 40), (514, 33, 33), (None, None, None)]
)
def test_a_context_beyond_the_base_is_refused(module, tmp_path, positions, model_max_length, limit):
    import shutil

    from finelab.contracts.uri import resolve

    folder = tmp_path / "base"
    shutil.copytree(resolve("tiny://bert" if positions else "tiny://t5").path, folder)
    for name, key, value in (
        ("tokenizer_config.json", "model_max_length", model_max_length),
        ("config.json", "max_position_embeddings", positions),
    ):
        settings = json.loads((folder / name).read_text())
        settings.pop(key, None)
        (folder / name).write_text(json.dumps(settings | ({key: value} if value else {})))
    assert module(base=str(folder), context=limit or 300).tokenizer.limit == limit
    if limit is not None:
        with pytest.raises(UserError, match=f"context is {limit + 1}, and the base .* takes {limit} tokens"):
            module(base=str(folder), context=limit + 1).setup("fit")


def test_the_report_states_stride_and_start_of_a_language_model(module):
    note = "windows of 32 tokens, stride 28 (4 repeated as context); each document starts behind <s>; no end"
    report = module(template=Documents(overlap=4), base="tiny://llama").render_report()
    assert note in " ".join(report.split())
    bare = module(template=Documents()).report["notes"]
    assert len(bare) == 1 and "the first token of each document is not scored" in bare[0]
    ended = module(template=Documents(append_eos=True), base="tiny://llama").report["notes"]
    assert ended[0].endswith("</s> is its last target")
    assert module().report["notes"] == []


def test_rows_that_uneven_ranks_leave_out_are_said(module):
    with pytest.warns(UserWarning, match="1 of the 80 training rows are left out of each epoch"):
        on_rank(module(batch_size=1), 0, 79).train_dataloader()


def test_tokenizing_is_silent(module, capfd):
    assert module().report["cache"] == "tokens built"
    assert capfd.readouterr().err == ""


class Recorder(LightningModule):
    """Sees what the trainer hands over."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = {"train": [], "validation": [], "predict": []}

    def training_step(self, batch, index):
        self.seen["train"].append(batch["sample_id"].tolist())
        return self.weight * 0

    def validation_step(self, batch, index):
        self.seen["validation"] += batch["sample_id"].tolist()

    def predict_step(self, batch, index):
        self.seen["predict"] += batch["sample_id"].tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def test_lightning_moves_the_epoch_on_and_predicts_in_order(module, write, tmp_path):
    data = module()
    data.predict_input = str(write("in.jsonl", [{"text": "a" * (20 - k)} for k in range(20)]))
    recorder = Recorder()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    trainer.fit(recorder, datamodule=data)
    fresh = module().train_dataloader()
    expected = []
    for epoch in range(2):
        fresh.batch_sampler.sampler.set_epoch(epoch)
        expected += ids_of(fresh)
    assert recorder.seen["train"] == expected
    assert expected[:10] != expected[10:]
    assert sorted(recorder.seen["validation"]) == sorted([*range(10), *range(10)])
    trainer.predict(recorder, datamodule=data)
    assert recorder.seen["predict"] == list(range(20))


def test_a_user_s_own_source_is_a_few_lines(module):
    from finelab.data.rejections import Row
    from finelab.data.sources import Source

    class Numbers(Source):
        name = "numbers"

        def splits(self):
            return ["train"]

        def digest(self):
            return "numbers 1"

        def read(self, split, reject):
            for number in range(40):
                yield Row(f"numbers:{number}", {"text": f"{number} is", "label": "odd" if number % 2 else "even"})

    data = module(source=Numbers())
    assert data.label_names == ["even", "odd"]
    assert data.report["splits"]["train"]["rows"] == 32


def test_a_tokenizer_without_a_pad_token_borrows_one(module, tmp_path):
    import shutil

    from finelab.contracts.uri import resolve
    from finelab.data.tokenizer import load_tokenizer

    folder = tmp_path / "no-pad"
    shutil.copytree(resolve("tiny://llama").path, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    loaded = load_tokenizer(str(folder))
    assert loaded.pad == "</s> (its eos: it has none of its own)"
    assert loaded.pad_id == loaded.tokenizer.eos_token_id
    size = len(loaded.tokenizer)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"unk_token": "<s>"}))
    loaded = load_tokenizer(str(folder))
    assert loaded.pad.startswith("<s> (its unk")
    assert len(loaded.tokenizer) == size
    with pytest.raises(UserError, match="gave no tokenizer"):
        load_tokenizer(str(tmp_path))
