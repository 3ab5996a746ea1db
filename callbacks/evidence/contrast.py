"""Losses of the same rows at several evaluations, compared row by row. Legend: T evaluations, n rows, G units."""

import numpy as np

from .estimate import Estimate
from .probe_series import Floats, ProbeSet

FEWEST = 8
"""Below so many documents, rows count as units; the verdict then says that its intervals may be too narrow. Counted,
however unequal: 8 to 40 documents that say as much as 2 to 20 equal ones make 3 to 7 % false alarms at a nominal 5 %,
where their rows as units make 30 to 36 %."""


def ratio(values: Floats, tokens: Floats, units: np.ndarray) -> Estimate:
    """sum(values) / sum(tokens), with the standard error of a ratio of sums by the jackknife that leaves out a unit.

        e_g = sum_{i in g} (values_i - ratio tokens_i),  w_g = sum_{i in g} tokens_i / sum tokens
        se^2 = (G - 1) / G sum_g (e_g / (1 - w_g))^2 / (sum tokens)^2,  freedom 1 / sum_g w_g^2 - 1

    Without unit g the ratio is smaller by exactly e_g / (1 - w_g) / sum tokens (Cochran, Sampling Techniques, 1977,
    chapter 6; CR3 of MacKinnon, Nielsen and Webb, J. Econometrics 232, 2023; Miller, arXiv:2411.00640, for documents
    as units). The plain sum of e_g^2 is too small where a few units are large: each pulls the ratio to itself. Freedom
    is Kish's effective number of units less one, at least 1. With units of the same size all of it is as usual: with
    one token a row and each row its own unit, the mean, its standard error and n - 1.

    Args:
        values: [n] e.g. differences of the row's summed loss between two evaluations.
        tokens: [n] supervised tokens.
        units: [n] rows of the same unit share a number.
    """
    total = float(tokens.sum())
    value = float(values.sum()) / total
    _, at = np.unique(units, return_inverse=True)
    left = np.maximum(1.0 - np.bincount(at, weights=tokens) / total, np.finfo(float).eps)
    moves = np.bincount(at, weights=values - value * tokens) / left
    count = len(moves)
    error = np.sqrt((count - 1) / count * float(moves @ moves)) / total
    return Estimate(value, float(error), max(effective(tokens, units) - 1.0, 1.0), count)


def effective(tokens: Floats, units: np.ndarray) -> float:
    """1 / sum of squared shares (Kish, Survey Sampling, 1965): how many units of the same size would say as much."""
    sizes = np.bincount(np.unique(units, return_inverse=True)[1], weights=tokens)
    return float(sizes.sum() ** 2 / (sizes @ sizes))


def contrast(losses: Floats, weights: Floats, tokens: Floats, units: np.ndarray) -> Estimate:
    """A weighted sum over the evaluations of each row, as a mean per token.

    Args:
        losses: [T, n] summed over a row's tokens.
        weights: [T] e.g. 1 for the last evaluation and -1 for the one it is compared with.
        tokens: [n]
        units: [n]
    """
    used = np.flatnonzero(weights)
    return ratio(weights[used] @ losses[used].astype(np.float64), tokens, units)


def difference(losses: Floats, now: int, then: int, tokens: Floats, units: np.ndarray) -> Estimate:
    """By how much the loss per token rose between two evaluations, paired by row."""
    weights = np.zeros(len(losses))
    weights[now], weights[then] = 1.0, weights[then] - 1.0
    if now == then:
        weights[now] = 0.0
    return contrast(losses, weights, tokens, units)


def independent_units(*sets: ProbeSet) -> list[np.ndarray]:
    """For each set [n]: its documents, or its rows where there are too few documents to count on; no number twice."""
    groups = np.concatenate([each.groups for each in sets])
    units = groups if len(np.unique(groups)) >= FEWEST else np.arange(len(groups))
    return np.split(units, np.cumsum([len(each.groups) for each in sets])[:-1])


def few_documents(one: ProbeSet) -> bool:
    """Whether rows had to count as units although they share documents."""
    documents = len(np.unique(one.groups))
    return documents < FEWEST and documents < len(one.groups)
