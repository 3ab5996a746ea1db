"""A small made-up task, a module on a tiny random model, and a short fit with what one test needs."""

import functools
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from peft import LoraConfig
from torch.utils.data import DataLoader

from finelab import models
from finelab.contracts.run import Run
from finelab.contracts.seeds import Seeds
from finelab.models.adapters import Full

ROWS = {"train": 24, "validation": 10, "test": 9}
LABELS = ["low", "high"]


def made_up(split: str, kind: str) -> list[dict[str, torch.Tensor]]:
    """Ragged rows; a row of class 0 has bytes below 20, one of class 1 100 and up, one in five the other way."""
    generator = torch.Generator().manual_seed(len(split))
    rows = []
    for i in range(ROWS[split]):
        label = i % 3 % 2
        low = 100 * label
        length = int(torch.randint(4, 12, (1,), generator=generator))
        ids = torch.randint(low, low + 20, (length,), generator=generator)
        if i % 5 == 0:
            ids = (ids + 100) % 200
        rows.append({"ids": ids, "label": torch.tensor(label) if kind == "classes" else ids, "id": torch.tensor(i)})
    return rows


def collate(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    pad = functools.partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    ids = [row["ids"] for row in rows]
    labels = [row["label"] for row in rows]
    return {
        "input_ids": pad(ids, padding_value=258),
        "attention_mask": pad([torch.ones_like(x) for x in ids]),
        "labels": torch.stack(labels) if labels[0].ndim == 0 else pad(labels, padding_value=-100),
        "sample_id": torch.stack([row["id"] for row in rows]),
        "source_id": torch.zeros(len(rows), dtype=torch.long),
    }


class MadeUpData(L.LightningDataModule):
    """Splits of a task that a probe half solves; reading the test split raises unless that is allowed."""

    def __init__(self, kind: str = "classes", may_read_test: bool = False, batch_size: int = 4) -> None:
        super().__init__()
        self.kind, self.may_read_test, self.batch_size = kind, may_read_test, batch_size
        self.report = {"rows": ROWS, "warnings": ["half of it is made up"]}
        self.fingerprint = "f1"
        self.splits = tuple(ROWS)

    def render_report(self) -> str:
        return "rows: train 24"

    def loader(self, split: str) -> DataLoader | None:
        if split == "test" and not self.may_read_test:
            raise AssertionError("the test split was read")
        if split not in self.splits:
            return None
        rows = made_up(split, self.kind)
        if torch.distributed.is_initialized():
            rows = rows[torch.distributed.get_rank() :: torch.distributed.get_world_size()]
        return DataLoader(rows, self.batch_size, collate_fn=collate, generator=torch.Generator().manual_seed(0))

    def train_dataloader(self) -> DataLoader:
        return self.loader("train")

    def val_dataloader(self) -> DataLoader | list:
        return self.loader("validation") or []

    def test_dataloader(self) -> DataLoader:
        return self.loader("test")

    def evaluation_loader(self, split: str) -> DataLoader | None:
        return self.loader(split)


@pytest.fixture
def data():
    return MadeUpData


@pytest.fixture
def classifier():
    """Every part of it drops out in training, so that a shifted random number shows."""

    def make(rate: float = 0.05, **options):
        return models.SequenceClassifier(
            base="tiny://bert",
            adapter=LoraConfig(r=2, lora_alpha=4, lora_dropout=0.1, target_modules=["query", "value"]),
            optimizer=functools.partial(torch.optim.SGD, lr=rate),
            labels=LABELS,
            **options,
        )

    return make


@pytest.fixture
def language_model():
    def make(rate: float = 0.5, **options):
        return models.CausalLM(
            base="tiny://llama",
            adapter=Full(),
            optimizer=functools.partial(torch.optim.SGD, lr=rate),
            **options,
        )

    return make


@pytest.fixture
def fit(tmp_path: Path):
    """Fits with just these callbacks; a list with a checkpoint callback switches checkpointing on."""

    def run(module, data, callbacks=(), **options):
        has_checkpoint = any(isinstance(c, L.pytorch.callbacks.Checkpoint) for c in callbacks)
        has_bar = any(isinstance(c, L.pytorch.callbacks.ProgressBar) for c in callbacks)
        settings = {"max_epochs": 2, "accelerator": "cpu", "logger": False, "log_every_n_steps": 2}
        settings |= {"enable_checkpointing": has_checkpoint, "enable_progress_bar": has_bar}
        settings |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "use_distributed_sampler": False}
        trainer = L.Trainer(default_root_dir=tmp_path, callbacks=list(callbacks), **(settings | options))
        trainer.fit(module, datamodule=data)
        return trainer

    return run


@pytest.fixture
def run_of(tmp_path: Path):
    """A run as the command line makes it."""

    def make(name: str = "run", evaluate_test: bool = False, **config) -> Run:
        (tmp_path / name).mkdir()
        model = {
            "class_path": "finelab.models.SequenceClassifier",
            "init_args": {
                "base": "tiny://bert",
                "adapter": {
                    "class_path": "peft.LoraConfig",
                    "init_args": {"r": 2, "lora_alpha": 4, "lora_dropout": 0.1},
                },
                "regularizers": [{"class_path": "finelab.models.regularizers.RDrop", "init_args": {"weight": 1.0}}],
                "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05}},
            },
        }
        config = {"seeds": {"data": 1, "init": 1, "train": 1}, "model": model, "trainer": {"max_epochs": 2}} | config
        return Run(tmp_path / name, config, ("finelab", "fit"), evaluate_test, Seeds())

    return make


@pytest.fixture
def board():
    """Lightning's TensorBoard logger as the command line sets it: event files directly in the run directory."""
    return lambda run: TensorBoardLogger(run.directory, name="", version="", default_hp_metric=False)


@pytest.fixture
def flat():
    return lambda module: torch.cat([p.detach().flatten() for p in module.parameters() if p.requires_grad])
