"""A look at training rows outside the training stream, which shifts no later draw."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from ..contracts.batch import IGNORE, Batch
from ..contracts.data import EvaluationSource
from ..contracts.errors import UserError

if TYPE_CHECKING:
    from .objective import Objective


class TrainingSurvey:
    """The rows that a method may look at before the first step, and their loss."""

    def __init__(self, module: "Objective") -> None:
        self.module, self.trainer = module, module.trainer

    def rows(self, limit: int) -> Iterator[Batch]:
        share = -(-limit // self.trainer.world_size)
        batches = training_batches(self.trainer)(share)
        single = (row_of(batch, i) for batch in batches for i in range(len(batch["labels"])))
        return (self.trainer.strategy.batch_to_device(row) for row in islice(single, share))

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


def row_of(batch: Batch, index: int) -> Batch:
    """One row without the pads that its batch gave it."""
    row = {key: value[index : index + 1] for key, value in batch.items()}
    real = row["attention_mask"].bool()
    if (labels := row["labels"]).shape == real.shape:
        real = real | (labels != IGNORE)  # an encoder-decoder's targets may be as many as its tokens, by chance
    width = int(real.flatten(0, -2).any(0).nonzero().max()) + 1
    return {key: x[..., :width] if x.shape[1:] == real.shape[1:] else x for key, x in row.items()}


def training_batches(trainer: Trainer) -> Callable[[int], Iterator[Batch]]:
    """Batches of about so many training rows in a fixed order, this rank's share; never those of the training stream.

    Raises:
        UserError: on use, where neither the data module nor its loader can be read apart from the training stream.
    """

    def batches(rows: int) -> Iterator[Batch]:
        seen = 0
        for batch in loader_apart(trainer):
            if seen >= rows:
                return
            seen += len(batch["labels"])
            yield batch

    return batches


def loader_apart(trainer: Trainer) -> "DataLoader | Iterator[Batch]":
    data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(data, EvaluationSource) and (loader := data.evaluation_loader("train")) is not None:
        return iter(loader)
    loader = trainer.train_dataloader
    if not isinstance(loader, DataLoader) or not gives_rows(loader):
        raise UserError(
            f"data: {type(data).__name__} has no evaluation_loader('train'), and a method of this run wants to look at "
            "training rows before the first step. Use a data module of finelab, or remove that method."
        )
    order = range(trainer.global_rank, len(loader.dataset), trainer.world_size)  # pyright: ignore[reportArgumentType]
    own = torch.Generator().manual_seed(0)  # a loader without one draws from the default generator
    return DataLoader(loader.dataset, batch_size=1, sampler=order, collate_fn=loader.collate_fn, generator=own)


def gives_rows(loader: DataLoader) -> bool:
    """Whether single rows can be asked for: neither a stream nor a list of finished batches."""
    return loader.batch_sampler is not None and not isinstance(loader.dataset, torch.utils.data.IterableDataset)
