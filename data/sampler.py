"""One order of the rows for all ranks, arms and workers.

The order of an epoch depends on the data seed and the epoch alone. A *global* batch is ``batch_size * world_size`` rows
of that order, and each rank takes its share of it: two runs with an equal global batch see the same rows at the same
step, on one device or on four. Nothing is drawn from a generator that anything else uses.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import Sampler

from ..contracts.errors import UserError
from ..contracts.seeds import derive

MEGA_BATCH = 50
"""Global batches whose rows are sorted together: enough to cut pads, few enough to keep an epoch well mixed."""


class GlobalOrder(Sampler[int]):
    """The rows of an epoch in order, and the cuts between global batches.

    With bucketing, the shuffled rows are sorted by length inside stretches of ``MEGA_BATCH`` global batches, and the
    full batches are then shuffled, so that a batch holds rows of like length. The last, uneven batch stays last.

    Args:
        lengths: tokens per row, shape [rows].
        global_batch: rows of one global batch.
        seed: the data seed.
        bucketing: put rows of like length together.
    """

    def __init__(self, lengths: np.ndarray, global_batch: int, seed: int, bucketing: bool = True) -> None:
        self.lengths = lengths
        self.global_batch = global_batch
        self.seed = seed
        self.bucketing = bucketing
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def identity(self) -> dict[str, Any]:
        """What two runs must share to have the same order; plain values."""
        return {
            "seed": self.seed,
            "global_batch": self.global_batch,
            "rows": len(self.lengths),
            "bucketing": self.bucketing,
        }

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return (int(row) for batch in self.batches() for row in batch)

    def rows(self, generator: np.random.Generator) -> np.ndarray:
        """The epoch's rows before any bucketing."""
        return generator.permutation(len(self.lengths))

    def batches(self) -> list[np.ndarray]:
        """The epoch's global batches."""
        generator = np.random.Generator(np.random.PCG64(derive("order", self.seed, self.epoch)))
        rows = self.rows(generator)
        if self.bucketing:
            mega = MEGA_BATCH * self.global_batch
            stretches = [rows[start : start + mega] for start in range(0, len(rows), mega)]
            # The uneven batch is cut off before sorting: at a stretch's end it would always get the longest rows.
            uneven = len(rows) % self.global_batch
            tail = rows[len(rows) - uneven :]
            stretches[-1:] = [stretches[-1][: len(stretches[-1]) - uneven]] if stretches else []
            rows = np.concatenate([s[np.argsort(self.lengths[s], kind="stable")] for s in stretches] + [tail])
        cuts = [rows[start : start + self.global_batch] for start in range(0, len(rows), self.global_batch)]
        if self.bucketing:
            full = sum(len(batch) == self.global_batch for batch in cuts)
            cuts[:full] = [cuts[position] for position in generator.permutation(full)]
        return cuts


class GlobalBatchSampler(Sampler[list[int]]):
    """A rank's share of each global batch, for ``DataLoader(batch_sampler=...)``.

    Lightning reaches ``sampler.set_epoch`` by itself. A last batch with fewer rows than ranks would leave a rank
    without one, and that rank would not take part in the step: such rows (fewer than ``world_size`` an epoch, other
    ones in each) are left out, and ``dropped`` counts them. On one rank nothing is ever left out.

    Args:
        order: the global order.
        rank: this process, from 0.
        world_size: number of processes.
    """

    def __init__(self, order: GlobalOrder, rank: int = 0, world_size: int = 1) -> None:
        self.sampler = order
        self.rank = rank
        self.world_size = world_size
        uneven = len(order) % order.global_batch
        self.dropped = uneven if uneven < world_size else 0
        self._start = (order.epoch, 0)

    def __len__(self) -> int:
        full, uneven = divmod(len(self.sampler), self.sampler.global_batch)
        return full + (uneven > self.dropped)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.sampler.batches()[self.first : len(self)]:
            yield batch[self.rank :: self.world_size].tolist()

    @property
    def first(self) -> int:
        """How many global batches of the epoch are left out, since they were processed before."""
        epoch, position = self._start
        return position if epoch == self.sampler.epoch else 0

    def start_at(self, epoch: int, position: int) -> None:
        """From here on the passes over this epoch begin behind ``position`` global batches."""
        self.sampler.set_epoch(epoch)
        self._start = (epoch, position)


def training_sampler(order: GlobalOrder, rank: int, world_size: int) -> GlobalBatchSampler:
    """Raises:
    UserError: there are fewer rows than devices.
    """
    sampler = GlobalBatchSampler(order, rank, world_size)
    if not len(sampler):
        raise UserError(f"The train split has {len(order)} rows for {world_size} devices; use fewer devices.")
    if sampler.dropped:
        rank_zero_warn(
            f"{sampler.dropped} of the {len(order)} training rows are left out of each epoch, other ones in each: "
            f"its last batch has fewer rows than the {world_size} devices."
        )
    return sampler


class FixedBatchSampler(Sampler[list[int]]):
    """Every row once over all ranks, longest first, the same at any time: for evaluation.

    The global batches differ by one row at most, and every rank has as many batches as the others.

    Args:
        lengths: tokens per row, shape [rows].
        batch_size: rows of one batch on one rank; one more where the rows could not be shared out otherwise.
        rank: this process, from 0.
        world_size: number of processes.

    Raises:
        UserError: fewer rows than ranks.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        if len(lengths) < world_size:
            raise UserError(f"An evaluation split has {len(lengths)} rows for {world_size} devices; use fewer devices.")
        order = np.argsort(-lengths, kind="stable")
        count = min(-(-len(order) // (batch_size * world_size)), len(order) // world_size)
        self.batches = [batch[rank::world_size].tolist() for batch in np.array_split(order, count)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)
