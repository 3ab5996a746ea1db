"""What a run did on each row, from its per-example files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet
from pyarrow import types

from ..contracts.errors import UserError
from ..contracts.record import Record

CLUSTER = "document"
SAME_ROW = ("label", "target", "chars", "bytes")
"""Columns that say what a row is, whatever the model."""

Columns = dict[str, np.ndarray]
Values = tuple[np.ndarray, np.ndarray]
"""Of each row the sum over its supervised positions, and how many those are."""


def columns_of(record: Record, directory: Path, split: str) -> Columns | None:
    """The per-example columns of the tuned model, in the order of sample_id; None where there is no file.

    Raises:
        UserError: the file is damaged.
    """
    name = record.examples.get(f"{split}-after")
    path = None if name is None else directory / name
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


def _checked(table: pyarrow.Table, path: Path) -> Columns:
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


def other_rows(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> str:
    """Why rows of one number are not the same; empty where nothing says so.

    Equal labels prove nothing: sorted files of any texts have them.
    """
    if not np.array_equal(first["sample_id"], second["sample_id"]):
        return "the files hold other rows"
    both = [name for name in SAME_ROW if name in first and name in second]
    differ = [name for name in both if first[name].tolist() != second[name].tolist()]
    return f"the rows of one number are not the same (another {differ[0]})" if differ else ""


def clusters_of(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows with one number are not independent of each other."""
    return columns.get(CLUSTER, columns["sample_id"])


def by_row(columns: Mapping[str, np.ndarray]) -> dict[str, Values]:
    """Metrics that have a value per row."""
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
