"""What the evaluated rows say about a comparison: would it hold for other rows?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..example_rows import Columns, Values, by_row, clusters_of, columns_of, other_rows
from ..results import CellResult
from ..statistics.interval import Interval
from ..statistics.items import item_interval, two_way
from .analysis import Estimate
from .pairing import Pair, data_settings, shown

TRAINING_ROWS = ("data.train_rows", "data.batch_size", "data.loader")
LENGTHS = ("chars", "bytes")
KEPT = 64
"""Files in memory: more than the pairs of one comparison, whose reference the next one shares."""


@dataclass(frozen=True)
class ItemLevel:
    """Differences of one metric over rows.

    Args:
        by_seed: label of a pair -> mean over its rows with the interval over rows.
        together: every row's mean over seeds first; None where seeds were evaluated on other rows, or one pair lacks
            them.
        two_way: seeds and rows both taken as samples.
        reason: why there is none; empty where there is.
    """

    by_seed: dict[str, Estimate] = field(default_factory=dict)
    together: Estimate | None = None
    two_way: Estimate | None = None
    reason: str = ""


@dataclass(frozen=True)
class _Rows:
    differences: np.ndarray
    weights: np.ndarray
    clusters: np.ndarray
    ids: np.ndarray


class Rows:
    """Per-example files, read when they are needed; the last few stay in memory."""

    def __init__(self) -> None:
        self._read: dict[tuple[Path, str], Columns | None] = {}

    def of(self, result: CellResult, split: str) -> Columns | None:
        """Raises:
        UserError: the file is damaged.
        """
        key = result.directory, split
        columns = self._read.pop(key) if key in self._read else columns_of(result.record, result.directory, split)
        self._read[key] = columns  # behind all others, so that the first one is the one longest unused
        if len(self._read) > KEPT:
            del self._read[next(iter(self._read))]
        return columns


def item_level(pairs: Sequence[Pair], metric: str, rows: Rows) -> ItemLevel:
    """Of pairs that share the task.

    Args:
        pairs: of a contrast.
        metric: key of the primary metric.
        rows: the files.
    """
    split, _, name = metric.rpartition("/")
    found: dict[str, _Rows] = {}
    for pair in pairs:
        read = _differences(pair, split, name, rows)
        if isinstance(read, str):
            return ItemLevel(reason=read)
        found[shown(pair.place)] = read
    if not found:
        return ItemLevel(reason="there is no pair")
    every = list(found.values())
    by_seed = {label: estimate(item_interval(e.differences, e.weights, e.clusters)) for label, e in found.items()}
    if any(not _same(every[0], other) for other in every[1:]):
        return ItemLevel(by_seed, reason="the seeds were evaluated on other rows each")
    table = np.stack([each.differences for each in every])
    return ItemLevel(
        by_seed,
        estimate(item_interval(table.mean(0), every[0].weights, every[0].clusters)),
        estimate(two_way(table, every[0].weights, every[0].clusters)),
    )


def estimate(found: Interval) -> Estimate:
    return Estimate(found.value, found.low, found.high, found.n)


def _differences(pair: Pair, split: str, name: str, rows: Rows) -> _Rows | str:
    """Arm less reference of each row, or why there is none."""
    ours, theirs = rows.of(pair.arm, split), rows.of(pair.reference, split)
    if ours is None or theirs is None:
        return f"a run has no per-example file of the {split} split"
    if reason := other_rows(ours, theirs) or _unproven(pair, ours, theirs):
        return reason
    one, two = by_row(ours).get(name), by_row(theirs).get(name)
    if one is None or two is None:
        return f"{name} has no value per row"
    if reason := _unusable(one, two):
        return reason
    return _Rows(one[0] - two[0], one[1], clusters_of(ours), ours["sample_id"])


def _unproven(pair: Pair, ours: Columns, theirs: Columns) -> str:
    """Why rows of one number may still be other texts; empty where they are the same.

    Data of one fingerprint are; so are those whose settings concern training rows alone, and rows whose texts have
    the same lengths one by one.
    """
    prints = [result.record.data.get("fingerprint") for result in (pair.arm, pair.reference)]
    same = prints[0] is not None and prints[0] == prints[1]
    if same or all(key.startswith(TRAINING_ROWS) for key in data_settings(pair)):
        return ""
    if any(name in ours and name in theirs for name in LENGTHS):
        return ""
    return "the fingerprints of the data do not agree, so that the rows cannot be told to be the same"


def _unusable(one: Values, two: Values) -> str:
    if not np.array_equal(one[1], two[1]):
        return "the rows have other numbers of supervised tokens"
    if not one[1].sum():
        return "no row has a supervised token"
    if not np.isfinite(one[0]).all() or not np.isfinite(two[0]).all():
        return "some rows have no finite value"
    return ""


def _same(one: _Rows, two: _Rows) -> bool:
    return (
        np.array_equal(one.ids, two.ids)
        and np.array_equal(one.weights, two.weights)
        and np.array_equal(one.clusters, two.clusters)
    )
