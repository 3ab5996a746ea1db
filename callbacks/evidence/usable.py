"""What of a series can be judged, and why nothing can."""

from dataclasses import replace

import numpy as np

from .probe_series import ProbeSeries, ProbeSet

FEWEST = 4
"""Rows of a set: with fewer, even a t test calls what is chance certain."""


def usable(series: ProbeSeries) -> ProbeSeries:
    """Without rows that have no supervised token, without evaluations that hold a loss that is no finite number, and
    without a train probe or a base that this leaves nothing of."""
    sets = {"train": series.train, "a": series.a, "b": series.b}
    rows = {name: each.tokens > 0 for name, each in sets.items() if each is not None}
    kept = np.flatnonzero(finite(series))
    base = {name: values[rows[name]] for name, values in series.base.items() if name in rows}
    train = None if series.train is None else _part(series.train, kept, rows["train"])
    return replace(
        series,
        steps=series.steps[kept],
        travelled=series.travelled[kept],
        train=None if train is None or len(train.tokens) < FEWEST else train,
        a=_part(series.a, kept, rows["a"]),
        b=_part(series.b, kept, rows["b"]),
        base={name: values for name, values in base.items() if np.isfinite(values).all()},
    )


def unusable(series: ProbeSeries, left: ProbeSeries, metric: str) -> str | None:
    """Why there is nothing to judge; None where there is.

    Args:
        series: all of it.
        left: what is usable of it.
        metric: what is judged.
    """
    step = f"step {int(series.steps[-1]):,}"
    a, b = len(left.a.tokens), len(left.b.tokens)
    if not finite(series)[-1]:
        return f"at {step} a probed row has a loss that is no finite number"
    if min(a, b) < FEWEST:
        return (
            f"fewer than {2 * FEWEST} validation rows with supervised tokens, {FEWEST} in each half, cannot tell a "
            f"change from chance; there are {a} and {b}"
        )
    if len(left) < 2:
        return f"there is one evaluation ({step}), and it takes two to see a change"
    if metric == "accuracy" and (series.a.right is None or series.b.right is None):
        return "these rows have no right and wrong answers; judge by nll"
    return None


def finite(series: ProbeSeries) -> np.ndarray:
    """[T] whether all losses of an evaluation are finite numbers."""
    sets = [each for each in (series.train, series.a, series.b) if each is not None]
    return np.all([np.isfinite(each.nll).all(1) for each in sets], axis=0)


def _part(one: ProbeSet, evaluations: np.ndarray, rows: np.ndarray) -> ProbeSet:
    return ProbeSet(
        one.nll[evaluations][:, rows],
        one.tokens[rows],
        None if one.right is None else one.right[evaluations][:, rows],
        one.groups[rows],
    )
