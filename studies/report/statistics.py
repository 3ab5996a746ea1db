"""Every number of every comparison, as the page folds it away."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..analysis.analysis import Contrast, Estimate
from .numbers import MISSING, decimals, interval, plain, probability

HEADS = ["pairs", "difference", "d_z", "p (t)", "adjusted", "p (sign flip)", "p (equivalence)", "P(better)",
         "over rows", "seeds × rows"]  # fmt: skip


@dataclass(frozen=True)
class Statistics:
    heads: list[str]
    rows: list[tuple[Contrast, list[str]]]


def statistics(contrasts: Sequence[Contrast]) -> Statistics:
    """One row a comparison; columns that no comparison fills are left out."""
    digits = decimals(c.difference for c in contrasts if c.difference is not None)
    rows = [_cells(contrast, digits) for contrast in contrasts]
    kept = [i for i in range(len(HEADS)) if any(row[i] != MISSING for row in rows)]
    return Statistics([HEADS[i] for i in kept],
                      [(c, [row[i] for i in kept]) for c, row in zip(contrasts, rows, strict=True)])  # fmt: skip


def _cells(c: Contrast, digits: int) -> list[str]:
    ps = (c.p, c.p_adjusted, c.p_sign_flip, c.p_equivalent)
    return [
        str(len(c.pairs)),
        interval(c.difference, digits),
        MISSING if c.effect is None else plain(c.effect, 2),
        *map(probability, ps),
        _share(c.outperforms),
        interval(c.items, digits),
        interval(c.two_way, digits),
    ]


def _share(found: Estimate | None) -> str:
    if found is None:
        return MISSING
    return plain(found.value, 2) + ("" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]")
