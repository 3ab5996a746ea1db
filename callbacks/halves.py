"""Two halves of a split: one to choose by, one to confirm with."""

import hashlib

import numpy as np

FEWEST = 8
RANKED = 16


class Halves:
    """Documents are shared out as wholes, each by a digest of the seed and itself, so that neither the order of the
    rows, the ranks, other draws nor which other documents there are matter. Below 16 documents chance alone might leave
    a half nearly empty: these are ranked by their digests, every other one in each half. Below eight the rows
    themselves are shared out.

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
