"""Two halves of a split: one to choose by, one to confirm with."""

import hashlib

import numpy as np

FEWEST = 8


class Halves:
    """Documents are shared out as wholes, by a digest of the seed and the document, so that the order of the rows, the
    ranks and other draws do not matter. Below eight documents the rows themselves are shared out.

    Args:
        samples: [n] sample ids.
        documents: [n] the document of each.
        seed: the data seed.
    """

    def __init__(self, samples: np.ndarray, documents: np.ndarray, seed: int) -> None:
        units = documents if len(np.unique(documents)) >= FEWEST else samples
        ranked = sorted(set(units.tolist()), key=lambda unit: _digest(seed, unit))
        first = set(ranked[::2])
        self._first = {sample: unit in first for sample, unit in zip(samples.tolist(), units.tolist(), strict=True)}

    def first(self, samples: np.ndarray) -> np.ndarray:
        """[n] sample ids to [n] booleans: whether each is in the first half, the one to choose by."""
        return np.array([self._first[int(sample)] for sample in samples], dtype=bool)


def _digest(seed: int, unit: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{unit}".encode(), digest_size=8).digest()
