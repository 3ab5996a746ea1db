"""Ragged made-up rows, and a short fit on them."""

import functools

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from finelab.contracts.batch import IGNORE


class RaggedRows(Dataset):
    """Rows of 5 to 12 random bytes; language-model rows have 1 to all of their tokens supervised."""

    def __init__(self, rows: int, classes: int | None) -> None:
        generator = torch.Generator().manual_seed(7)
        lengths = torch.randint(5, 13, (rows,), generator=generator).tolist()
        self.rows = []
        for i, length in enumerate(lengths):
            ids = torch.randint(0, 256, (length,), generator=generator)
            labels = ids.clone()
            labels[: int(torch.randint(1, length - 1, (1,), generator=generator))] = IGNORE
            self.rows.append((ids, labels if classes is None else torch.tensor(i % classes), i))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def collate(rows, width=None):
    width = width or max(len(ids) for ids, _, _ in rows)

    def pad(x, value):
        return torch.nn.functional.pad(x, (0, width - len(x)), value=value)

    ids = torch.stack([pad(r[0], 0) for r in rows])
    mask = torch.stack([pad(torch.ones_like(r[0]), 0) for r in rows])
    labels = torch.stack([r[1] if r[1].ndim == 0 else pad(r[1], IGNORE) for r in rows])
    sample = torch.tensor([r[2] for r in rows])
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "sample_id": sample,
        "source_id": torch.zeros_like(sample),
    }


@pytest.fixture
def loader():
    def make(micro: int, rows: int = 8, classes: int | None = None, width: int | None = None) -> DataLoader:
        own = torch.Generator().manual_seed(0)
        return DataLoader(
            RaggedRows(rows, classes), micro, collate_fn=functools.partial(collate, width=width), generator=own
        )

    return make


@pytest.fixture
def sgd():
    return functools.partial(torch.optim.SGD, lr=0.1)


@pytest.fixture
def fit():
    def run(module, train, val=None, callbacks=(), **options):
        settings = {"max_epochs": 3, "accelerator": "cpu", "logger": False, "enable_checkpointing": False}
        settings |= {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
        trainer = L.Trainer(**(settings | {"callbacks": list(callbacks)} | options))
        trainer.fit(module, train, val)
        return trainer

    return run


@pytest.fixture
def flat():
    """Every trainable weight in one vector."""
    return lambda module: torch.cat([p.detach().flatten() for p in module.parameters() if p.requires_grad])
