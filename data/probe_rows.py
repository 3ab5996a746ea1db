"""Which training rows are looked at in every validation."""

from collections.abc import Mapping

import numpy as np

from ..contracts.seeds import derive
from .mixing import quotas


def drawn(rows: int, count: int, seed: int, name: str = "") -> np.ndarray:
    """Row numbers in ascending order: ``count`` of ``rows`` (or all), by the data seed alone.

    Args:
        rows: to draw from.
        count: how many.
        seed: the data seed.
        name: of the source, so that those of a mixture draw independently.
    """
    chosen = np.random.default_rng(derive("probe", name, seed)).permutation(rows)[:count]
    return np.sort(chosen)


def drawn_of_each(sizes: Mapping[str, int], like: Mapping[str, int], count: int, seed: int) -> np.ndarray:
    """Row numbers in the rows of several sources behind each other.

    Args:
        sizes: source -> its rows.
        like: source -> rows of what the draw is compared with; the sources are represented as there.
        count: how many in all; fewer where a source has too few.
        seed: the data seed.
    """
    shared = {name: like[name] for name in sizes if like.get(name)} or dict(sizes)
    total = sum(shared.values())
    wanted = quotas(count, {name: own / total for name, own in shared.items()})
    found, start = [], 0
    for name, size in sizes.items():
        found.append(start + drawn(size, wanted.get(name, 0), seed, name))
        start += size
    return np.concatenate(found)
