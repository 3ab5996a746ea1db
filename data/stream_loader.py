"""A stream as a training loader: global batches, each rank's share of them, and where the stream stands."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from ..contracts.batch import Batch
from ..contracts.errors import UserError
from .streaming import ChunkOrder, Cursor, TextStream

CURSOR = "cursor"


class StreamedBatches(IterableDataset[tuple[list[Any], Cursor]]):
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
        self.epoch, self.start = 0, Cursor()

    def __iter__(self) -> Iterator[tuple[list[Any], Cursor]]:
        size, start = self.order.global_batch, self.start
        pending: list[Any] = []
        cursor = start
        for chunk, samples in self.text.chunks(self.epoch, start.chunk):
            resumed = chunk == start.chunk
            lead = start.lead if resumed else -len(pending) % size
            units = self.order.units(samples, lead, self.epoch, chunk)
            for offset in range(start.offset if resumed else 0, len(units)):
                pending.append(units[offset])
                cursor = Cursor(chunk, lead, offset + 1)
                if len(pending) == size:
                    yield pending[self.rank :: self.world_size], cursor
                    pending = []
        if len(pending) >= self.world_size:
            yield pending[self.rank :: self.world_size], cursor


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
        self._cursor = batches.start

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.stream.epoch:
            self.stream.epoch, self.stream.start = epoch, Cursor()
            self._cursor = Cursor()

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            self._cursor = Cursor(*batch.pop(CURSOR).tolist())
            yield batch
        self.stream.start = Cursor()

    def state_dict(self) -> dict[str, int]:
        """Five numbers, whatever the size of the data; batches fetched ahead of the last one used are counted."""
        return {
            "seed": self.stream.order.seed,
            "epoch": self.stream.epoch,
            "buffer": self.stream.text.buffer,
            **asdict(self._cursor),
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
        self.stream.epoch = state["epoch"]
        self.stream.start = self._cursor = Cursor(state["chunk"], state["lead"], state["offset"])


class WithCursor:
    """Collates a batch and lets the cursor travel in it, from the worker process to the trainer's.

    Args:
        collate: makes a batch of some units.
    """

    def __init__(self, collate: Callable[[Any], Batch]) -> None:
        self.collate = collate

    def __call__(self, item: tuple[list[Any], Cursor]) -> Batch:
        units, cursor = item
        return self.collate(units) | {CURSOR: torch.tensor([cursor.chunk, cursor.lead, cursor.offset])}
