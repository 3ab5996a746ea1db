"""One order of the rows of several sources, in exact proportions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..contracts.seeds import derive
from .mixing import interleave
from .sampler import GlobalOrder


class MixtureOrder(GlobalOrder):
    """Rows of several sources, behind each other in one data set, as one global order.

    An epoch has as many slots as all sources have rows. The slots of a source are spread evenly (``interleave``), the
    same ones in every epoch. They are filled from the source's own endless stream: one seeded permutation of its rows
    after the other, so that each row comes once before any comes again. An epoch goes on in that stream where the one
    before stopped. The stream depends on the data seed, the source's name and its size alone, so that adding a source
    changes no other one's order. Bucketing acts on the whole, as for a single source.

    Args:
        lengths: per source, tokens per row.
        counts: per source, rows in an epoch; they sum up to the number of all rows.
        global_batch: rows of one global batch.
        seed: the data seed.
        bucketing: put rows of like length together; the proportions are then exact per epoch, not per step.
    """

    def __init__(
        self,
        lengths: Mapping[str, np.ndarray],
        counts: Sequence[int],
        global_batch: int,
        seed: int,
        bucketing: bool = True,
    ) -> None:
        super().__init__(np.concatenate(list(lengths.values())), global_batch, seed, bucketing)
        assert sum(counts) == len(self.lengths)
        self.sizes = {name: len(own) for name, own in lengths.items()}
        self.counts = counts
        self.slots = interleave(counts)

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"counts": dict(zip(self.sizes, self.counts, strict=True))}

    def rows(self, generator: np.random.Generator) -> np.ndarray:
        rows = np.empty(len(self.slots), dtype=np.int64)
        offset = 0
        for source, (name, size) in enumerate(self.sizes.items()):
            rows[self.slots == source] = offset + self._stretch(name, size, self.counts[source])
            offset += size
        return rows

    def _stretch(self, name: str, size: int, count: int) -> np.ndarray:
        """What this epoch takes of a source's stream."""
        start = self.epoch * count
        first, last = start // size, -(-(start + count) // size)
        passes = [np.zeros(0, dtype=np.int64)]
        for number in range(first, last):
            seed = derive("order", name, self.seed, number)
            passes.append(np.random.Generator(np.random.PCG64(seed)).permutation(size))
        return np.concatenate(passes)[start - first * size :][:count]
