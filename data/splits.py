"""Rows to splits by fraction, where the source has none."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from ..contracts.errors import UserError
from ..contracts.seeds import derive


@dataclass(frozen=True)
class Fractions:
    """How much of the rows becomes validation and test where the source has no such split.

    A source with a single split gives both; one with a test split and none for validation gives only the latter, so
    that an official test split stays as it is.

    Args:
        validation: share of the rows; 0 for none.
        test: share of the rows; 0 for none.
    """

    validation: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise UserError(
                f"data.splits: validation {self.validation} and test {self.test} leave nothing to train on; "
                "both are shares from 0, with a sum under 1."
            )

    def missing_from(self, splits: Sequence[str]) -> dict[str, float]:
        """The splits to cut off the training rows -> share."""
        if "train" not in splits:
            return {}
        wanted = (
            {"validation": self.validation} if len(splits) > 1 else {"validation": self.validation, "test": self.test}
        )
        return {split: share for split, share in wanted.items() if share and split not in splits}


def split_by_fraction(
    size: int, shares: dict[str, float], seed: int, strata: Sequence[Hashable] | None = None
) -> list[str]:
    """The split of each row, depending on the arguments alone.

    Args:
        size: number of rows.
        shares: split -> share; what remains is ``train``.
        seed: the data seed.
        strata: per row its stratum; each is shared out on its own (largest remainders over all strata), and the last
            row of a stratum stays in ``train``.
    """
    generator = np.random.Generator(np.random.PCG64(derive("split", seed)))
    rank = generator.permutation(size)
    groups: dict[Hashable, list[int]] = {}
    for row in np.argsort(rank, kind="stable"):
        groups.setdefault(strata[row] if strata is not None else None, []).append(int(row))
    splits = ["train"] * size
    taken = dict.fromkeys(groups, 0)
    for split, share in shares.items():
        for group, count in _quotas({group: len(rows) for group, rows in groups.items()}, share).items():
            start = taken[group]
            stop = min(start + count, len(groups[group]) - 1)
            for row in groups[group][start:stop]:
                splits[row] = split
            taken[group] = max(start, stop)
    return splits


def _quotas(sizes: dict[Hashable, int], share: float) -> dict[Hashable, int]:
    """Whole numbers that sum up to ``round(share * total)``, each within one of its own share."""
    quotas = {group: int(size * share) for group, size in sizes.items()}
    rest = round(sum(sizes.values()) * share) - sum(quotas.values())
    by_remainder = sorted(sizes, key=lambda group: (quotas[group] - sizes[group] * share, str(group)))
    for group in by_remainder[:rest]:
        quotas[group] += 1
    return quotas
