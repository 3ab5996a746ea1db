"""Exact tests by flipping signs: no assumption but that a difference is as likely as its opposite."""

from collections.abc import Sequence

import numpy as np

from .interval import NOTHING

EXACT = 20
"""Up to so many replicates all flips are enumerated."""
DRAWS = 100_000
SEED = 0
TIE = 1e-9
"""Sums that differ by less than this share of the largest possible one are equal."""


def sign_flip(differences: Sequence[float] | np.ndarray) -> float:
    """P(|mean of flipped differences| >= |mean|), two-sided (Fisher 1935, The Design of Experiments, section 21).

    Exact for up to 20 differences; beyond that from 100,000 drawn flips with a fixed seed, (hits + 1) / (draws + 1),
    which stays valid (Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9). The smallest p is 2^(1 - n).

    Args:
        differences: [n], n >= 1, each symmetric around 0 under the null hypothesis.
    """
    given = np.asarray(differences, dtype=float)
    tie = max(TIE * float(np.abs(given).sum()), NOTHING * len(given))
    least = abs(float(given.sum())) - tie
    if len(given) <= EXACT:
        return float((np.abs(_all_sums(given)) >= least).mean())
    signs = drawn_flips(len(given))
    hits = sum(int((np.abs(part @ given) >= least).sum()) for part in np.array_split(signs, 10))
    return (hits + 1) / (len(signs) + 1)


def smallest_p(n: int) -> float:
    """The smallest two-sided p that n replicates can reach."""
    return 2.0 ** (1 - n)


def all_flips(n: int) -> np.ndarray:
    """Signs [2^(n-1), n]: one of each pair of opposite flips, which have the same |mean|."""
    numbers = np.arange(2 ** (n - 1))
    return 1.0 - 2.0 * ((numbers[:, None] >> np.arange(n)) & 1)


def drawn_flips(n: int) -> np.ndarray:
    """Signs [draws, n] by a fixed seed."""
    return np.random.default_rng(SEED).choice((-1.0, 1.0), (DRAWS, n))


def _all_sums(values: np.ndarray) -> np.ndarray:
    """Sums [2^(n-1)] of all flips but opposite ones."""
    sums = values[:1]
    for value in values[1:]:
        sums = np.concatenate([sums + value, sums - value])
    return sums
