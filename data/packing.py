"""Samples packed into rows of at most a context's length, so that hardly a pad is computed.

Best fit, longest first (Johnson 1973; for language models "Fewer Truncations Improve Language Modeling",
arXiv:2404.10830), inside stretches of the shuffled split. The rows depend on the lengths, the context and the data seed
alone: the same in every arm, on every rank and in every epoch, so that the number of steps is known. An epoch shuffles
rows; samples that share a row always do, but neither sees the other (``PackCollator``).
"""

from bisect import bisect_left, insort

import numpy as np
from torch.utils.data import Dataset

from ..contracts.seeds import derive
from .token_dataset import Sample, TokenDataset

STRETCH = 10_000
"""Samples that are packed together: enough to fill rows, few enough for a row to hold a mixture of the split."""


class PackedDataset(Dataset[list[Sample]]):
    """The samples of a split in rows.

    Args:
        data: the split.
        context: most tokens of a row.
        seed: the data seed.
    """

    def __init__(self, data: TokenDataset, context: int, seed: int) -> None:
        self.data = data
        self.rows = pack(data.lengths, context, seed)
        self.lengths = np.array([data.lengths[row].sum() for row in self.rows], dtype=np.int64)
        self.fill = float(self.lengths.sum() / (context * max(len(self.rows), 1)))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> list[Sample]:
        return [self.data[int(sample)] for sample in self.rows[index]]


def pack(lengths: np.ndarray, context: int, seed: int) -> list[np.ndarray]:
    """The samples of each row.

    Args:
        lengths: tokens per sample, shape [samples].
        context: most tokens of a row.
        seed: the data seed.
    """
    generator = np.random.Generator(np.random.PCG64(derive("packing", seed)))
    shuffled = generator.permutation(len(lengths))
    stretches = [shuffled[start : start + STRETCH] for start in range(0, len(shuffled), STRETCH)]
    return [stretch[row] for stretch in stretches for row in best_fit(lengths[stretch], context)]


def best_fit(lengths: np.ndarray, context: int) -> list[np.ndarray]:
    """Longest first, each into the fullest row that has room; positions in ``lengths`` per row."""
    rows: list[list[int]] = []
    with_room: dict[int, list[int]] = {}
    rooms: list[int] = []  # keys of with_room, sorted
    for sample in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[sample])
        place = bisect_left(rooms, length)
        if place == len(rooms):
            room, row = context, len(rows)
            rows.append([])
        else:
            room = rooms[place]
            row = with_room[room].pop()
            if not with_room[room]:
                del with_room[room], rooms[place]
        rows[row].append(sample)
        left = room - length
        if left > 0:
            if left not in with_room:
                insort(rooms, left)
            with_room.setdefault(left, []).append(row)
    return [np.array(row) for row in rows]
