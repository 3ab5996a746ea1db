"""Where a training loader says that it stands, at every moment of a fit, and what one that is restored there gives."""

import itertools
import json
import shutil

import lightning as L
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel

from finelab.callbacks.state_io import StateIO
from finelab.callbacks.training_state import TrainingState
from finelab.contracts.errors import UserError
from finelab.contracts.state_folder import states
from finelab.data import Classification, MixtureDataModule, StreamingTextDataModule, TextDataModule, streaming
from finelab.data.loader_options import LoaderOptions
from finelab.data.mixture_specs import SourceSpec
from finelab.data.splits import Fractions

ROWS, BATCH, EPOCHS = 44, 8, 3
BATCHES = -(-ROWS // BATCH)


@pytest.fixture
def made(write, rows, tokens, monkeypatch):
    """A data module of each kind, with 44 training rows."""
    monkeypatch.setattr(streaming, "CHUNK", 20)
    files = {"train": str(write("train.jsonl", rows(ROWS))), "validation": str(write("val.jsonl", rows(6, ROWS)))}
    parts = {
        name: SourceSpec(files | {"train": str(write(f"{name}.jsonl", rows(size, at)))})
        for name, size, at in (("a", 30, 0), ("b", 14, 30))
    }
    template = Classification(names=["no", "yes"])

    def make(kind, workers=0, **changes):
        own = {"base": "tiny://bert", "context": 32, "batch_size": BATCH, "cache_dir": tokens} | changes
        own.setdefault("loader", LoaderOptions(num_workers=min(workers, 1 if kind == "stream" else 2)))
        if kind == "mixture":
            return MixtureDataModule(parts, template=template, splits=Fractions(0, 0), **own)
        if kind == "stream":
            return StreamingTextDataModule(files, template, **({"buffer": 10} | own))
        return TextDataModule(files, template, **own)

    return make


class Looking(L.Callback):
    """What the loader says at each moment, beside how many batches of the epoch were processed by then."""

    def __init__(self):
        self.said, self.processed = [], 0

    def look(self, trainer, moment, processed):
        (state,) = trainer.fit_loop._combined_loader._state_dicts()
        self.said.append((moment, trainer.fit_loop.epoch_progress.total.ready - 1, processed, state))

    def on_train_epoch_start(self, trainer, module):
        self.look(trainer, "epoch start", 0)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.look(trainer, "batch start", batch_idx)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.processed = batch_idx + 1
        self.look(trainer, "batch end", batch_idx + 1)

    def on_validation_start(self, trainer, module):
        self.look(trainer, "validation start", self.processed)

    def on_train_epoch_end(self, trainer, module):
        self.look(trainer, "epoch end", BATCHES)


class Noting(BoringModel):
    def __init__(self):
        super().__init__()
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch["sample_id"].tolist())
        return self.layer(torch.zeros(1, 32)).sum()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        return {}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trained(data, folder, **options):
    looking, module = Looking(), Noting()
    settings = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    settings |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "use_distributed_sampler": False}
    settings |= {"callbacks": [looking], "max_epochs": EPOCHS, "val_check_interval": 3, "default_root_dir": folder}
    L.Trainer(**settings | options).fit(module, datamodule=data)
    return module.seen, looking.said


def rest(loader, state):
    loader.load_state_dict(json.loads(json.dumps(state)))
    found = []
    for batch in loader:
        found.append(batch["sample_id"].tolist())
    return found


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["text", "mixture", "stream"])
def test_the_position_is_what_was_processed_and_from_there_the_rest_of_the_epoch_comes(made, kind, workers, tmp_path):
    """Lightning fetches one batch of a stream ahead, workers fetch four."""
    steps = {"max_steps": EPOCHS * BATCHES} if kind == "stream" else {}
    seen, said = trained(made(kind, workers), tmp_path, **steps)
    epochs = [seen[start : start + BATCHES] for start in range(0, EPOCHS * BATCHES, BATCHES)]
    assert epochs[0] != epochs[1] and len(epochs) == EPOCHS
    moments = {moment for moment, *_ in said}
    assert moments == {"epoch start", "batch start", "batch end", "validation start", "epoch end"}
    checked = 0
    for moment, epoch, processed, state in said:
        assert (state["epoch"], state["position"]) == (epoch, processed), moment
        assert len(json.dumps(state)) < 400, "a few numbers"
        if moment in ("epoch start", "batch start") and processed in (0, 1, 4) and not workers:
            assert (
                rest(made(kind).train_dataloader() if kind != "stream" else streamed(made), state)
                == (epochs[epoch][processed:])
            )
            checked += 1
    assert checked == (0 if workers else 4 * EPOCHS)


def streamed(made):
    data = made("stream")
    data.trainer = L.Trainer(accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False)
    return data.train_dataloader()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_is_the_same_with_any_number_of_workers(made, workers, tmp_path):
    runs = [trained(made("text", number), tmp_path, max_epochs=2)[0] for number in (0, workers)]
    assert runs[0] == runs[1]


def test_len_is_that_of_a_whole_epoch_wherever_the_loader_stands(made):
    loader = made("text").train_dataloader()
    state = loader.state_dict()
    loader.load_state_dict(state | {"epoch": 1, "position": 4})
    assert len(list(loader)) == BATCHES - 4 and len(loader) == BATCHES
    assert loader.state_dict() == state | {"epoch": 1, "position": BATCHES}


def test_a_state_that_was_loaded_and_not_begun_is_the_state(made):
    for loader in (made("text").train_dataloader(), streamed(made)):
        state = loader.state_dict() | {"epoch": 2, "position": 3}
        loader.load_state_dict(state)
        assert loader.state_dict() == state


def test_workers_are_seeded_by_the_epoch_and_not_by_how_often_the_loader_was_read(made):
    def seeds(epochs):
        loader = made("text").train_dataloader()
        found = []
        for epoch in epochs:
            loader.batch_sampler.sampler.set_epoch(epoch)
            found.append(iter(loader).gi_frame.f_locals["batches"]._base_seed)
        return found

    assert seeds([0, 1, 2]) == seeds([0, 0, 1, 2])[1:] and len(set(seeds([0, 1, 2]))) == 3


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("text", {"seed": 2}, "seeds.data was 1, and is 2"),
        ("text", {"batch_size": 4}, "number of devices was 8, and is 4"),
        ("text", {"loader": LoaderOptions(bucketing=False)}, "loader.bucketing was True, and is False"),
        ("mixture", {"seed": 2}, "seeds.data was 1, and is 2"),
        ("mixture", {"temperature": 5.0}, "sources gives to an epoch was {'a': 30, 'b': 14}, and is"),
        ("stream", {"seed": 2}, "seeds.data was 1, and is 2"),
        ("stream", {"batch_size": 4}, "number of devices was 8, and is 4"),
        ("stream", {"buffer": 11}, "data.init_args.buffer was 10, and is 11"),
    ],
    ids=str,
)
def test_another_order_is_refused(made, kind, change, told):
    state = made(kind).train_dataloader().state_dict()
    with pytest.raises(UserError, match="data order") as refusal:
        made(kind, **change).train_dataloader().load_state_dict(state)
    assert told in str(refusal.value)


def test_another_number_of_rows_is_refused(made, write, rows, tokens):
    state = made("text").train_dataloader().state_dict()
    files = {"train": str(write("fewer.jsonl", rows(ROWS - 1))), "validation": str(write("v.jsonl", rows(6, ROWS)))}
    other = TextDataModule(files, Classification(), "tiny://bert", 32, BATCH, cache_dir=tokens)
    with pytest.raises(UserError, match="number of training rows was 44, and is 43"):
        other.train_dataloader().load_state_dict(state)


def test_one_global_batch_goes_on_over_other_ranks(made):
    """The position counts global batches, so that the same state serves 1 process of 8 rows and 2 of 4."""
    state = made("text").train_dataloader().state_dict() | {"position": 2}
    whole = rest(made("text").train_dataloader(), state)
    halves = []
    for rank in range(2):
        data = made("text", batch_size=BATCH // 2)
        data._place = lambda rank=rank: (rank, 2)
        halves.append(rest(data.train_dataloader(), state))
    assert [sorted(itertools.chain(*parts)) for parts in zip(*halves, strict=True)] == [sorted(b) for b in whole]


class Stepped(Noting):
    """With a schedule, which asks for the number of steps and so makes the loader before anything is restored."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Keeping(L.Callback):
    """A copy of every training state, since a run keeps the newest one only."""

    def __init__(self, run, folder):
        self.run, self.folder, self.kept = run, folder, {}

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        for state in states(self.run):
            if (copy := self.folder / state.name) not in self.kept:
                shutil.copytree(state, copy)
                self.kept[copy] = len(module.seen)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["text", "mixture", "stream"])
def test_a_run_that_goes_on_from_any_of_its_states_takes_the_batches_that_were_left(made, kind, workers, tmp_path):
    """Two micro-batches a step and six an epoch; every second batch of a stream's epoch closes a window, too."""

    def run(name, resume=None, *callbacks):
        module = Stepped()
        own = [TrainingState(tmp_path / name, steps=1), *callbacks]
        settings = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "callbacks": own}
        settings |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "use_distributed_sampler": False}
        settings |= {"max_epochs": EPOCHS, "max_steps": EPOCHS * BATCHES // 2, "val_check_interval": 3}
        trainer = L.Trainer(**settings, accumulate_grad_batches=2, plugins=[StateIO()], enable_checkpointing=False)
        trainer.fit(module, datamodule=made(kind, workers), ckpt_path=resume)
        return module.seen

    keeping = Keeping(tmp_path / "whole", tmp_path / "kept")
    whole = run("whole", None, keeping)
    assert len(whole) == EPOCHS * BATCHES and len(keeping.kept) >= EPOCHS * BATCHES // 2
    for number, (state, done) in enumerate(keeping.kept.items()):
        if not workers or number in (1, 3, 4):
            assert run(f"resumed-{number}", state) == whole[done:], state.name
