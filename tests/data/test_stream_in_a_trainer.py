"""What a trainer sees of a stream: which rows each step takes, where a resumed run goes on, what was left out."""

import itertools

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel

from finelab.contracts.errors import UserError
from finelab.data import Classification, Documents, StreamingTextDataModule, streaming
from finelab.data.loader_options import LoaderOptions

ROWS, BATCH, STEPS = 50, 8, 17  # 7 batches an epoch


class Noting(BoringModel):
    """Trains nothing of worth and notes the rows of every step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch["sample_id"].tolist())
        return self.layer(torch.zeros(1, 32)).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK", 20)


@pytest.fixture
def stream(write, rows, tokens):
    def make(train=None, template=None, base="tiny://bert", **changes):
        train = rows(ROWS) if train is None else train
        files = {"train": str(write("train.jsonl", train)), "validation": str(write("val.jsonl", rows(6, ROWS)))}
        template = template or Classification(names=["no", "yes"])
        return StreamingTextDataModule(files, template, base, 32, BATCH, buffer=10, cache_dir=tokens, **changes)

    return make


@pytest.fixture
def fit(tmp_path):
    def run(data, callbacks=(), resume=None, **options):
        module = Noting()
        settings = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "max_epochs": -1}
        settings |= {"enable_model_summary": False, "limit_val_batches": 0, "use_distributed_sampler": False}
        settings |= {"enable_checkpointing": bool(callbacks), "max_steps": STEPS, "default_root_dir": tmp_path}
        L.Trainer(callbacks=list(callbacks), **settings | options).fit(module, datamodule=data, ckpt_path=resume)
        return module.seen

    return run


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_takes_the_steps_that_were_left(stream, fit, tmp_path, workers):
    """After each step, those at the ends of epochs (7 and 14) among them."""
    data = stream(loader=LoaderOptions(num_workers=workers))
    keep = ModelCheckpoint(tmp_path / "kept", "{step}", save_top_k=-1, every_n_train_steps=1)
    whole = fit(data, [keep])
    epochs = [sorted(itertools.chain(*whole[start : start + 7])) for start in (0, 7)]
    assert len(whole) == STEPS and epochs[0] == epochs[1] and len(epochs[0]) == ROWS
    for done in (1, 3, 6, 7, 8, 14, 15) if not workers else (3, 7):
        resumed = fit(stream(), resume=tmp_path / "kept" / f"step={done}.ckpt")
        assert resumed == whole[done:], done


def test_a_run_resumed_from_the_end_of_an_epoch_begins_the_next(stream, fit, tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", "{step}", save_top_k=-1, save_on_train_epoch_end=True)
    whole = fit(stream(), [keep], max_epochs=3, max_steps=100)
    assert len(whole) == 21
    assert fit(stream(), resume=tmp_path / "kept" / "step=7.ckpt", max_epochs=3, max_steps=100) == whole[7:]


def test_rows_left_out_are_counted_although_the_run_stops_before_their_end(stream, fit, rows):
    bad = {"text": "", "label": 0}
    train = [bad, *rows(30), bad, {"text": "x", "label": "maybe"}, *rows(30, 30)]
    with pytest.warns(UserWarning) as found:
        fit(stream(train, on_bad_row="skip"), max_steps=6)
    told = [str(warning.message) for warning in found if "left out" in str(warning.message)]
    assert len(told) == 2 and "train.jsonl:1: the text in column 'text' is empty" in told[0]
    assert told[1].startswith("3 training rows")


def test_a_stream_without_a_batch_is_refused(stream, fit):
    with pytest.raises(UserError, match=r"train split gave no batch"):
        fit(stream(train=[]))


def test_the_packing_probe_of_an_empty_stream_is_refused(stream):
    data = stream(train=[], template=Documents(), base="tiny://llama", loader=LoaderOptions(packing=True))
    with pytest.raises(UserError, match=r"train split gave no batch"):
        data.packing_probe()
