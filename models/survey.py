"""A look at training rows outside the training stream, which shifts no later draw."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from ..contracts.batch import Batch
from ..contracts.data import EvaluationSource
from ..contracts.errors import UserError

if TYPE_CHECKING:
    from .objective import Objective

ORDER = 0
"""Seed of the order; one for all runs, so that all arms look at the same rows."""


class TrainingSurvey:
    """The rows that a method may look at before the first step, and their loss."""

    def __init__(self, module: "Objective", asking: str) -> None:
        self.module, self.trainer, self.asking = module, module.trainer, asking

    def rows(self, limit: int) -> Iterator[Batch]:
        own = islice(shuffled_rows(self.trainer, self.asking), -(-limit // self.trainer.world_size))
        return (self.trainer.strategy.batch_to_device(row) for row in own)

    def everyones_rows(self, limit: int) -> list[Batch]:
        own = list(self.rows(limit))
        if self.trainer.world_size == 1:
            return own
        shares: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(shares, [{key: x.cpu() for key, x in row.items()} for row in own])
        return [self.trainer.strategy.batch_to_device(row) for share in shares for row in share]

    def losses(self, batch: Batch) -> Tensor:
        outputs, targets, _ = self.module.supervised(batch)
        return self.module.likelihood.nll(outputs.logits, targets)

    def nll(self, batch: Batch) -> Tensor:
        return self.losses(batch).sum()

    def summed(self, value: Tensor) -> Tensor:
        whole = self.trainer.strategy.reduce(value, reduce_op="sum")
        assert isinstance(whole, Tensor)
        return whole


def shuffled_rows(trainer: Trainer, asking: str) -> Iterator[Batch]:
    """This rank's rows, of all training rows in one fixed random order; a loader's own order may go by length, and a
    file's by class. The rows of a mixture stand behind each other, so that each source comes by its number of rows,
    whatever its weight.

    Args:
        trainer: of the run.
        asking: the method that wants them, with its place in the configuration.

    Raises:
        UserError: there are none that could be read apart from the training stream.
    """
    loader = require_rows(trainer, asking)
    dataset: Any = loader.dataset
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(ORDER)).tolist()
    own = order[trainer.global_rank :: trainer.world_size]
    counted = torch.Generator().manual_seed(ORDER)  # a loader without one draws from the default generator
    return iter(DataLoader(dataset, batch_size=1, sampler=own, collate_fn=loader.collate_fn, generator=counted))


def require_rows(trainer: Trainer, asking: str) -> DataLoader:
    """A loader of which single rows can be had: neither of a stream nor of finished batches."""
    data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    apart = isinstance(data, EvaluationSource)
    loader: Any = data.evaluation_loader("train") if apart else trainer.train_dataloader
    streams = isinstance(loader, DataLoader) and isinstance(loader.dataset, torch.utils.data.IterableDataset)
    if isinstance(loader, DataLoader) and loader.batch_sampler is not None and not streams:
        return loader
    where = f"{type(data).__name__} gives none" if apart else "this run's data gives none"
    raise UserError(
        f"{asking} looks at training rows before the first step, and {where} in advance: a stream, or a loader of "
        "finished batches, has no single rows to look at. Use finelab.data.TextDataModule, or a setting of the method "
        "that looks at none (ChildTuning: mode: F; LoraConfig: init_lora_weights: true)."
    )
