"""What two runs do on the same rows, from their per-example files."""

from dataclasses import dataclass

import numpy as np

from ...contracts.clustered import mean_difference
from ...contracts.metrics import TITLES
from ...studies.example_rows import Columns, Values, by_row, clusters_of, columns_of, other_rows
from .compared_run import ComparedRun
from .paired_difference import PairedDifference


@dataclass(frozen=True)
class PairedRows:
    """What two runs do on the same rows.

    Args:
        differences: of each metric that has a value per row.
        notes: why there is none, or none of one metric.
    """

    differences: list[PairedDifference]
    notes: list[str]


def paired_differences(run: ComparedRun, other: ComparedRun, split: str) -> PairedRows:
    """Of each metric that has a value per row.

    Args:
        run: whose values count positive.
        other: what it is compared with.
        split: ``validation`` or ``test``.

    Raises:
        UserError: a per-example file is damaged.
    """
    tables = [_columns(each, split) for each in (run, other)]
    for each, table in zip((run, other), tables, strict=True):
        if table is None:
            who = "there is" if each is run else f"{each.letter} has"
            return PairedRows([], [f"{who} no per-example file of the {split} split"])
    first, second = (table for table in tables if table is not None)
    if reason := _other_rows(run, other, first, second):
        return PairedRows([], [reason])
    clusters = clusters_of(first)
    if len(np.unique(clusters)) < 2:
        return PairedRows([], ["there is only one row, or rows of only one document"])
    found, notes = [], []
    for metric, (ours, weights), (theirs, _) in _shared(first, second):
        if reason := _unusable(ours, theirs, weights):
            notes.append(f"{TITLES[metric]} is left out: {reason}")
        else:
            found.append(PairedDifference(metric, *mean_difference(ours - theirs, weights, clusters)))
    return PairedRows(found, notes if found or notes else ["no metric has a value per row in both"])


def _columns(run: ComparedRun, split: str) -> Columns | None:
    return None if run.record is None else columns_of(run.record, run.directory, split)


def _other_rows(run: ComparedRun, other: ComparedRun, first: Columns, second: Columns) -> str:
    """Why rows of one number may not be the same; empty where they are."""
    if reason := other_rows(first, second):
        return reason
    assert run.record is not None and other.record is not None
    prints = [record.data.get("fingerprint") for record in (run.record, other.record)]
    if None in prints or prints[0] != prints[1]:
        return "the fingerprints of their data do not agree, so that the rows cannot be told to be the same"
    return ""


def _unusable(ours: np.ndarray, theirs: np.ndarray, weights: np.ndarray) -> str:
    """Why a metric has no mean over these rows; empty where it has one."""
    if not weights.sum():
        return "no row has a supervised token"
    if not np.isfinite(ours).all() or not np.isfinite(theirs).all():
        return "some rows have no finite value"
    return ""


def _shared(first: Columns, second: Columns) -> list[tuple[str, Values, Values]]:
    """Metrics that both have row by row, as sums and weights of each row."""
    ours, theirs = by_row(first), by_row(second)
    found = []
    for metric in ours:
        if metric in theirs and np.array_equal(ours[metric][1], theirs[metric][1]):
            found.append((metric, ours[metric], theirs[metric]))
    return found
