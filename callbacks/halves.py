"""Two halves of a split: one to choose by, one to confirm with."""

import hashlib

import numpy as np

FEWEST = 8
RANKED = 1_000
"""Below this the halves are of equal size; beyond, chance leaves them so to a few per cent."""


class Halves:
    """Documents are shared out as wholes, by a digest of the seed and each, so that neither the order of the rows, the
    ranks nor other draws matter. Below a thousand documents they are ranked by their digests, every other one in each
    half; more are decided each by its own, whatever others there are, so that a part of very many rows has the halves
    of the whole. Below eight documents the rows themselves are shared out.

    Args:
        samples: [n] sample ids.
        documents: [n] the document of each.
        seed: the data seed.
    """

    def __init__(self, samples: np.ndarray, documents: np.ndarray, seed: int) -> None:
        units = documents if len(np.unique(documents)) >= FEWEST else samples
        digests = {unit: _digest(seed, unit) for unit in set(units.tolist())}
        if len(digests) < RANKED:
            first = set(sorted(digests, key=digests.__getitem__)[::2])
        else:
            first = {unit for unit, digest in digests.items() if digest[0] % 2}
        self._first = {sample: unit in first for sample, unit in zip(samples.tolist(), units.tolist(), strict=True)}

    def first(self, samples: np.ndarray) -> np.ndarray:
        """[n] sample ids to [n] booleans: whether each is in the first half, the one to choose by."""
        return np.array([self._first[int(sample)] for sample in samples], dtype=bool)


def _digest(seed: int, unit: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{unit}".encode(), digest_size=8).digest()
