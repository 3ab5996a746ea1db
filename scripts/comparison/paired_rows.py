"""What two runs do on the same rows, from their per-example files."""

import math
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet
from scipy.special import stdtrit

from ...contracts.errors import UserError
from .compared_run import ComparedRun

CONFIDENCE = 0.95
CLUSTER = "document"
SAME_ROW = ("label", "target", "chars", "bytes")
"""Columns that say what a row is, whatever the model: they tell where the fingerprints of the data cannot."""


@dataclass(frozen=True)
class PairedDifference:
    """How much one run is above another on the same rows.

    Args:
        metric: e.g. ``nll``.
        difference: the run's mean over all supervised positions less the other's.
        low: lower end of the 95 % interval over rows.
        high: upper end.
        rows: how many.
        clusters: independent groups of them; as many as rows where every row is its own.
    """

    metric: str
    difference: float
    low: float
    high: float
    rows: int
    clusters: int


def paired_differences(run: ComparedRun, other: ComparedRun, split: str) -> list[PairedDifference] | str:
    """Of each metric that has a value per row; or why there is none.

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
            return f"{'there is' if each is run else f'{each.letter} has'} no per-example file of the {split} split"
    first, second = (table for table in tables if table is not None)
    if not np.array_equal(first["sample_id"], second["sample_id"]):
        return "the files hold other rows"
    if reason := _other_rows(run, other, first, second):
        return reason
    clusters = first.get(CLUSTER, first["sample_id"])
    if len(np.unique(clusters)) < 2:
        return "there is only one row, or rows of only one document"
    found = []
    for metric, (ours, weights), (theirs, _) in _shared(first, second):
        found.append(PairedDifference(metric, *mean_difference(ours - theirs, weights, clusters)))
    return found or "no metric has a value per row in both"


def mean_difference(
    differences: np.ndarray, weights: np.ndarray, clusters: np.ndarray
) -> tuple[float, float, float, int, int]:
    """sum(d) / sum(w) with its t interval; of weights 1 and rows of their own that is mean(d) +- t s / sqrt(n).

    Miller 2024 (arXiv:2411.00640): paired, and with residuals summed within clusters before they are squared.

    Args:
        differences: [n], summed over the supervised positions of a row.
        weights: [n], how many positions those are.
        clusters: [n], rows with one number are not independent.

    Returns:
        Difference, low, high, rows and clusters.
    """
    mean = float(differences.sum() / weights.sum())
    members = np.unique(clusters, return_inverse=True)[1]
    sums = np.bincount(members, differences - mean * weights)
    count = len(sums)
    error = math.sqrt(count / (count - 1) * float(sums @ sums)) / float(weights.sum())
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * error
    return mean, mean - half, mean + half, len(differences), count


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
    columns = {name: np.array(table[name].to_pylist(), dtype=_kind(name)) for name in table.column_names}
    order = np.argsort(columns["sample_id"], kind="stable")
    return {name: values[order] for name, values in columns.items()}


def _kind(name: str) -> type | None:
    return object if name in ("label", "prediction", "target") else None


def _other_rows(run: ComparedRun, other: ComparedRun, first: dict, second: dict) -> str:
    """Why rows of one number may not be the same; empty where they are."""
    assert run.record is not None and other.record is not None
    prints = [record.data.get("fingerprint") for record in (run.record, other.record)]
    if prints[0] is not None and prints[0] == prints[1]:
        return ""
    known = [name for name in SAME_ROW if name in first and name in second]
    if not known:
        return "their data differ, and no column says whether the rows are the same"
    differ = [name for name in known if not _equal(first[name], second[name])]
    return f"the rows of one number are not the same (another {differ[0]})" if differ else ""


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
    weights = columns["tokens"].astype(float) if "tokens" in columns else ones
    found: dict[str, Values] = {}
    if "correct" in columns:
        found["accuracy"] = columns["correct"].astype(float) * weights, weights
    if "target" in columns and "prediction" in columns:
        errors = columns["prediction"].astype(float) - columns["target"].astype(float)
        found["mse"] = errors**2, ones
    if "nll" in columns:
        found["nll"] = columns["nll"].astype(float), weights
    return found
