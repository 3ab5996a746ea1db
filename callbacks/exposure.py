"""How likely a model finds a secret beside others of its kind (Carlini et al., 2019, arXiv:1802.08232, section 4)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, chi2

BY_CHANCE = 1 / math.log(2)
"""Bits that a secret which was never seen has on average; half of such secrets have more than 1."""


@dataclass(frozen=True)
class Exposure:
    """``log2 |R| - log2 rank(s)`` of a secret s among the |R| possible ones, ranked by their NLL.

    Args:
        bits: 0 where all others are likelier; ``log2 |R|`` where none is.
        low: lower end of the 95% interval; of a rank among all possible secrets it is ``bits``.
        high: upper end, at most ``log2 |R|``.
    """

    bits: float
    low: float
    high: float


def exposure(own: float, others: np.ndarray, space: int, exhaustive: bool) -> Exposure:
    """Of one secret. A tie counts against it.

    Where the others are a sample of M, the rank is estimated by its share (b + 1) / (M + 1), where b of them are at
    least as likely: a valid p-value of never having been seen, and at most log2(M + 1) bits however well it is known.
    The interval is that of Clopper and Pearson for the share of all possible secrets.

    Args:
        own: nats of the secret.
        others: [M] nats of secrets that were never inserted.
        space: |R|.
        exhaustive: the others are all that there are.
    """
    below, count = int((others <= own).sum()), len(others)
    bits = math.log2((count + 1) / (below + 1))
    if exhaustive:
        return Exposure(bits, bits, bits)
    smallest = 0.0 if below == 0 else float(beta.ppf(0.025, below, count - below + 1))
    largest = 1.0 if below == count else float(beta.ppf(0.975, below + 1, count - below))
    return Exposure(bits, -math.log2(largest), -math.log2(max(smallest, 1 / space)))


def chance(bits: Sequence[float]) -> float:
    """Probability of so much exposure of independent secrets together if none was ever seen (Fisher's method)."""
    return float(chi2.sf(2 * math.log(2) * sum(bits), 2 * len(bits)))
