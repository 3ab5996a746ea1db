"""A stream as a training loader: global batches, each rank's share of them, and where the stream stands."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple
from typing import Any, TypeAlias

import torch
from torch.utils.data import DataLoader, IterableDataset

from ..contracts.batch import Batch
from ..contracts.errors import UserError
from .streaming import ChunkOrder, Cursor, TextStream

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

    Args:
        batches: the stream.
        collate: makes a batch of some units.
        num_workers: 0, or 1 to read and tokenize beside the training; the order is the same.
        pin_memory: page-locked batches.
    """

    def __init__(
        self,
        batches: StreamedBatches,
        collate: Callable[[Any], Batch],
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.stream = batches
        self.sampler = self  # where Lightning looks for set_epoch
        self.loader = DataLoader(
            batches,
            batch_size=None,
            collate_fn=WithCursor(collate),  # pyright: ignore[reportArgumentType] - of one item, as batch_size is None
            # One of its own: a loader draws its workers' seed from the global generator otherwise.
            generator=torch.Generator().manual_seed(0),
            num_workers=num_workers,
            pin_memory=pin_memory,
        )
        self.behind, self.dropped = batches.start, 0

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.stream.start.epoch:
            self.stream.start = self.behind = Cursor(epoch)

    def __iter__(self) -> Iterator[Batch]:
        """Raises:
        UserError: there is no batch, so that a trainer would go through epochs without a step for ever.
        """
        batch = None
        for batch in self.loader:
            yield batch
        if batch is None:
            raise self.stream.text.nothing()
        self.stream.start = Cursor(self.stream.start.epoch)

    def take(self, batch: Batch) -> Batch:
        """The batch for a training step, without what only the stream knows of it.

        A trainer fetches ahead: what it holds when a run stops has to come again, so that the state is that behind the
        last batch *taken*.
        """
        *cursor, dropped = batch.pop(BEHIND).tolist()
        self.behind, self.dropped = Cursor(*cursor), max(self.dropped, dropped)
        return batch

    def state_dict(self) -> dict[str, int]:
        """A few numbers, whatever the size of the data."""
        return {
            "seed": self.stream.order.seed,
            "buffer": self.stream.text.buffer,
            "dropped": self.dropped,
            **asdict(self.behind),
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next pass begins behind the cursor: the rows before it are read again and not tokenized.

        Raises:
            UserError: the state belongs to another order.
        """
        own = self.state_dict()
        for key, where in {"seed": "seeds.data", "buffer": "data.init_args.buffer"}.items():
            if state[key] != own[key]:
                raise UserError(
                    f"The checkpoint's rows were ordered with {where} {state[key]}, this run has {own[key]}; set it to "
                    f"{state[key]} to continue."
                )
        self.stream.start = self.behind = Cursor(**{key: state[key] for key in asdict(self.behind)})
        self.dropped = state["dropped"]


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
