"""What two runs do on the same rows, from their per-example files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet
from pyarrow import types

from ...contracts.clustered import mean_difference
from ...contracts.errors import UserError
from ...contracts.metrics import TITLES
from .compared_run import ComparedRun
from .paired_difference import PairedDifference

CLUSTER = "document"
SAME_ROW = ("label", "target", "chars", "bytes")
"""Columns that say what a row is, whatever the model."""


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
    tables = [columns_of(each, split) for each in (run, other)]
    for each, table in zip((run, other), tables, strict=True):
        if table is None:
            who = "there is" if each is run else f"{each.letter} has"
            return PairedRows([], [f"{who} no per-example file of the {split} split"])
    first, second = (table for table in tables if table is not None)
    if reason := _other_rows(run, other, first, second):
        return PairedRows([], [reason])
    clusters = first.get(CLUSTER, first["sample_id"])
    if len(np.unique(clusters)) < 2:
        return PairedRows([], ["there is only one row, or rows of only one document"])
    found, notes = [], []
    for metric, (ours, weights), (theirs, _) in _shared(first, second):
        if reason := _unusable(ours, theirs, weights):
            notes.append(f"{TITLES[metric]} is left out: {reason}")
        else:
            found.append(PairedDifference(metric, *mean_difference(ours - theirs, weights, clusters)))
    return PairedRows(found, notes if found or notes else ["no metric has a value per row in both"])


def columns_of(run: ComparedRun, split: str) -> dict[str, np.ndarray] | None:
    """The per-example columns of the tuned model, in the order of sample_id.

    Raises:
        UserError: the file is damaged.
    """
    name = run.record.examples.get(f"{split}-after") if run.record is not None else None
    path = None if name is None else run.directory / name
    if path is None or not path.is_file():
        return None
    wanted = {"sample_id", "nll", "tokens", "correct", "prediction", CLUSTER, *SAME_ROW}
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read([name for name in file.schema_arrow.names if name in wanted])
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({' '.join(str(error).split())[:200]}).") from error
    columns = _checked(table, path)
    order = np.argsort(columns["sample_id"], kind="stable")
    return {name: values[order] for name, values in columns.items()}


def _checked(table: pyarrow.Table, path: Path) -> dict[str, np.ndarray]:
    """Columns as arrays, NaN where a number is missing.

    Raises:
        UserError: there is no sample_id, or a column has another type than the run gave it.
    """
    if "sample_id" not in table.column_names:
        raise _damaged(path, "it has no column sample_id")
    columns = {}
    for name in table.column_names:
        kind, whole = table.schema.field(name).type, name in ("sample_id", CLUSTER)
        numbers = types.is_integer(kind) or (not whole and (types.is_floating(kind) or types.is_boolean(kind)))
        if not numbers and (whole or name in ("nll", "tokens", "correct")):
            raise _damaged(path, f"its column {name} holds {kind} instead of numbers")
        if whole and table[name].null_count:
            raise _damaged(path, f"its column {name} has rows without a value")
        columns[name] = np.array(
            table[name].to_pylist(), dtype=int if whole else float if numbers and name != "label" else object
        )
    tokens = columns.get("tokens", np.ones(0))
    if not (np.isfinite(tokens) & (tokens >= 0)).all():
        raise _damaged(path, "its column tokens has rows that are no count")
    return columns


def _damaged(path: Path, how: str) -> UserError:
    return UserError(f"{path} is damaged: {how}. Evaluate that run again, or compare without it.")


def _other_rows(run: ComparedRun, other: ComparedRun, first: dict, second: dict) -> str:
    """Why rows of one number may not be the same; empty where they are.

    Equal labels prove nothing: sorted files of any texts have them.
    """
    if not np.array_equal(first["sample_id"], second["sample_id"]):
        return "the files hold other rows"
    differ = [name for name in SAME_ROW if name in first and name in second and not _equal(first[name], second[name])]
    if differ:
        return f"the rows of one number are not the same (another {differ[0]})"
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


def _equal(one: np.ndarray, two: np.ndarray) -> bool:
    return one.tolist() == two.tolist()


Values = tuple[np.ndarray, np.ndarray]


def _shared(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> list[tuple[str, Values, Values]]:
    """Metrics that both have row by row, as sums and weights of each row."""
    ours, theirs = _by_row(first), _by_row(second)
    found = []
    for metric in ours:
        if metric in theirs and np.array_equal(ours[metric][1], theirs[metric][1]):
            found.append((metric, ours[metric], theirs[metric]))
    return found


def _by_row(columns: dict[str, np.ndarray]) -> dict[str, Values]:
    ones = np.ones(len(columns["sample_id"]))
    weights = columns.get("tokens", ones)
    found: dict[str, Values] = {}
    if "correct" in columns:
        found["accuracy"] = columns["correct"] * weights, weights
    if all(name in columns and columns[name].dtype == float for name in ("target", "prediction")):
        found["mse"] = (columns["prediction"] - columns["target"]) ** 2, ones
    if "nll" in columns:
        found["nll"] = columns["nll"], weights
    return found
