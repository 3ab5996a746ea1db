"""A stream as a training loader: global batches, each rank's share of them, and where the stream stands."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple
from typing import Any, TypeAlias

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, IterableDataset

from ..contracts.batch import Batch
from ..contracts.interruption import leave_signals_to_the_parent
from ..contracts.seeds import derive
from .ordered_loader import require_same_order
from .streaming import ChunkOrder, Cursor, TextStream
from .trainer_position import trainer_position

BEHIND = "stream"
"""Key of a batch: the fields of the ``Cursor`` behind it, and how many rows of the epoch were left out until then."""

Item: TypeAlias = tuple[list[Any], Cursor, int]
"""A rank's units of a global batch, the cursor behind them, rows left out."""


class StreamedBatches(IterableDataset[Item]):
    """A rank's share of each global batch, and where the stream stands behind it.

    Every rank reads and tokenizes every row and keeps its share. A last batch with fewer units than ranks is left out.

    Args:
        text: the samples.
        order: of a chunk.
        rank: this process, from 0.
        world_size: number of processes.
    """

    def __init__(self, text: TextStream, order: ChunkOrder, rank: int, world_size: int) -> None:
        self.text, self.order, self.rank, self.world_size = text, order, rank, world_size
        self.start = Cursor()

    def __iter__(self) -> Iterator[Item]:
        """One batch late, so that the last one is known: behind it begins the next epoch."""
        waiting: Item | None = None
        for item in self._batches(self.start):
            if waiting is not None:
                yield waiting
            waiting = item
        if waiting is not None:
            units, cursor, dropped = waiting
            yield units, Cursor(cursor.epoch + 1), dropped

    def _batches(self, start: Cursor) -> Iterator[Item]:
        size = self.order.global_batch
        pending: list[Any] = []
        cursor, dropped = start, 0
        for chunk in self.text.chunks(start):
            resumed, dropped = chunk.number == start.chunk, chunk.dropped
            lead = start.lead if resumed else -len(pending) % size
            units = self.order.units(chunk.samples, lead, start.epoch, chunk.number)
            for offset in range(start.offset if resumed else 0, len(units)):
                pending.append(units[offset])
                cursor = Cursor(start.epoch, chunk.number, lead, offset + 1, chunk.refused)
                if len(pending) == size:
                    yield pending[self.rank :: self.world_size], cursor, dropped
                    pending = []
        if len(pending) >= self.world_size:
            yield pending[self.rank :: self.world_size], cursor, dropped


class StreamLoader:
    """What a trainer iterates; its length is unknown.

    Where the stream stands is where it was behind the last batch that the trainer has *processed*. A trainer fetches
    ahead, so the cursors of the batches still outstanding are kept.

    Args:
        batches: the stream.
        collate: makes a batch of some units.
        trainer: whose position it is; None, or one that does not fit, leaves it to the batches taken.
        num_workers: 0, or 1 to read and tokenize beside the training; the order is the same.
        pin_memory: page-locked batches.
    """

    def __init__(
        self,
        batches: StreamedBatches,
        collate: Callable[[Any], Batch],
        trainer: Trainer | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.stream, self.trainer = batches, trainer
        self.sampler = self  # where Lightning looks for set_epoch
        self.loader = DataLoader(
            batches,
            batch_size=None,
            collate_fn=WithCursor(collate),  # pyright: ignore[reportArgumentType] - of one item, as batch_size is None
            generator=torch.Generator(),  # a loader draws its workers' seed from the global one otherwise
            num_workers=num_workers,
            worker_init_fn=leave_signals_to_the_parent,
            pin_memory=pin_memory,
        )
        self.dropped = 0
        self._set(0, 0, batches.start)

    def _set(self, epoch: int, position: int, start: Cursor) -> None:
        """The next pass is one over ``epoch``, behind ``position`` batches of it."""
        self.epoch, self.first, self.stream.start, self.begun = epoch, position, start, False
        self.taken, self.behind = position, {position: (start, self.dropped)}

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self._set(epoch, 0, Cursor(epoch))

    def __iter__(self) -> Iterator[Batch]:
        """Raises:
        UserError: there is no batch, so that a trainer would go through epochs without a step for ever.
        """
        if (place := trainer_position(self.trainer)) is not None:
            self.set_epoch(place[0])  # Lightning makes the first iterator of a fit before it sets the epoch
        self._set(self.epoch, self.first, self.stream.start)
        self.begun, batch = True, None
        assert self.loader.generator is not None
        self.loader.generator.manual_seed(derive("loader", "stream", self.stream.order.seed, self.epoch))
        for batch in self.loader:
            yield batch
        if batch is None:
            raise self.stream.text.nothing()
        self.first, self.stream.start = 0, Cursor(self.epoch)

    def take(self, batch: Batch) -> Batch:
        """The batch for a training step, without what only the stream knows of it."""
        *cursor, dropped = batch.pop(BEHIND).tolist()
        self.taken, self.dropped = self.taken + 1, max(self.dropped, dropped)
        self.behind[self.taken] = Cursor(*cursor), self.dropped
        for position in [position for position in self.behind if position < self._processed()]:
            del self.behind[position]
        return batch

    def _processed(self) -> int:
        place = trainer_position(self.trainer) if self.begun else None  # before that it counts those of the last epoch
        return self.taken if place is None else place[1]

    def identity(self) -> dict[str, Any]:
        """What two runs must share to have the same order; plain values."""
        order = self.stream.order
        return {
            "seed": order.seed,
            "global_batch": order.global_batch,
            "bucketing": order.loader.bucketing,
            "buffer": self.stream.text.buffer,
        }

    def state_dict(self) -> dict[str, Any]:
        """A few numbers, whatever the size of the data."""
        position = self._processed()
        cursor, dropped = self.behind[position]
        return {
            **self.identity(),
            "epoch": self.epoch,
            "position": position,
            "dropped": dropped,
            "cursor": asdict(cursor),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next pass begins behind the cursor: the rows before it are read again and not tokenized.

        Raises:
            UserError: the state belongs to another order.
        """
        require_same_order(state, self.identity())
        self.dropped = state["dropped"]
        self._set(state["epoch"], state["position"], Cursor(**state["cursor"]))


class WithCursor:
    """Collates a batch and lets the cursor travel in it, from the worker process to the trainer's.

    Args:
        collate: makes a batch of some units.
    """

    def __init__(self, collate: Callable[[Any], Batch]) -> None:
        self.collate = collate

    def __call__(self, item: Item) -> Batch:
        units, cursor, dropped = item
        return self.collate(units) | {BEHIND: torch.tensor([*astuple(cursor), dropped])}
