"""How many rows each source of a mixture gives to an epoch, and in which slots of it they stand."""

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from math import gcd, isinf

import numpy as np


def shares(sizes: Mapping[str, int], weights: Mapping[str, float] | None, temperature: float) -> dict[str, float]:
    """Source -> share of the rows; they sum up to one.

    Args:
        sizes: rows per source.
        weights: fixed shares, in any unit; None for ``size ** (1 / temperature)``, as for multilingual BERT and T5
            (arXiv:1910.10683, section 3.5.2).
        temperature: 1 is proportional to size, infinity uniform.
    """
    if weights is None:
        # By the largest, so that no power overflows; infinity would be 1 / inf = 0.0, which is meant.
        largest = max(sizes.values())
        power = 0.0 if isinf(temperature) else 1 / temperature
        weights = {name: (size / largest) ** power for name, size in sizes.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def quotas(size: int, wanted: Mapping[str, float]) -> dict[str, int]:
    """Whole rows that sum up to ``size`` (largest remainders; of equal ones the earlier source gets the row)."""
    exact = {name: size * share for name, share in wanted.items()}
    # A share such as 3 / 7 * 7 may come out a hair below the whole number that it is.
    found = {name: int(value + 1e-9 * max(value, 1)) for name, value in exact.items()}
    remainders = sorted(exact, key=lambda name: found[name] - exact[name])
    for name in remainders[: size - sum(found.values())]:
        found[name] += 1
    return found


def interleave(counts: Sequence[int]) -> np.ndarray:
    """Which source each slot of an epoch takes its row from.

    After every k slots of N, source i has given less than one row more or less than ``counts[i] * k / N``, and after N
    slots exactly ``counts[i]``; so this holds over any number of epochs too. Its j-th row is due in the slots from
    floor(j N / counts[i]) up to but without ceil((j + 1) N / counts[i]), and the earliest deadline goes first, which is
    a proportionate fair schedule of one machine (Baruah, Cohen, Plaxton and Varvel, Algorithmica 15, 1996).

    Args:
        counts: rows per source.

    Returns:
        Source indices, shape [sum of counts].
    """
    divisor = gcd(*counts) or 1
    parts = [count // divisor for count in counts]
    size = sum(parts)
    waiting = [(0, source) for source, count in enumerate(parts) if count]
    given = [0] * len(parts)
    due: list[tuple[int, int]] = []
    heapify(waiting)
    slots = np.empty(size, dtype=np.int64)
    for slot in range(size):
        while waiting and waiting[0][0] <= slot:
            _, source = heappop(waiting)
            heappush(due, (-(-(given[source] + 1) * size // parts[source]), source))
        _, source = heappop(due)
        slots[slot] = source
        given[source] += 1
        heappush(waiting, (given[source] * size // parts[source], source))
    return np.tile(slots, divisor)
