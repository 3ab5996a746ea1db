"""From the batches of ``predict`` to one line per example, in input order."""

import csv
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..contracts.errors import UserError
from ..contracts.files import write_atomically
from .invocation import Invocation

Row = dict[str, Any]


@runtime_checkable
class PredictionSource(Protocol):
    """A data module that reads examples from a file.

    Attributes:
        predict_input: the file, or "-" for stdin; None predicts on the module's own rows.
        predict_ids: the ids of the examples in input order; filled by ``setup("predict")``.
    """

    predict_input: str | None
    predict_ids: list[Any]


def prepare_predictions(data: object, invocation: Invocation) -> None:
    """Tell the data module where to read.

    Raises:
        UserError: it cannot read from a file.
    """
    if invocation.input is None:
        return
    if not isinstance(data, PredictionSource):
        raise UserError(
            f"--input {invocation.input} on the command line: {type(data).__name__} reads no files for predict; leave "
            "--input out to predict on its own rows, or give the class the attributes predict_input and predict_ids."
        )
    data.predict_input = invocation.input


def write_predictions(data: object, batches: Sequence[Mapping[str, list]], invocation: Invocation) -> None:
    """Write one line per example.

    Raises:
        UserError: the predictions are not one per example.
    """
    rows = predicted_rows(batches)
    if isinstance(data, PredictionSource) and data.predict_ids:
        if len(rows) != len(data.predict_ids):
            raise UserError(
                f"{len(rows)} predictions came back for {len(data.predict_ids)} examples, so nothing was written; the "
                "model's predict_step must return one entry per row of the batch."
            )
        for row, example in zip(rows, data.predict_ids, strict=True):
            row["id"] = example
    target = invocation.output or "-"
    text = as_csv(rows) if Path(target).suffix == ".csv" else "".join(json.dumps(row) + "\n" for row in rows)
    if target == "-":
        sys.stdout.write(text)
    else:
        write_atomically(Path(target), text)
        print(f"{len(rows)} predictions written to {target}")


def predicted_rows(batches: Sequence[Mapping[str, list]]) -> list[Row]:
    """One row per example, in the order of ``sample_id`` where the model gives it; windows of one text are summed."""
    rows = [dict(zip(batch, values, strict=True)) for batch in batches for values in zip(*batch.values(), strict=True)]
    if all("sample_id" in row for row in rows):
        whole: dict[int, Row] = {}
        for row in sorted(rows, key=lambda row: row["sample_id"]):
            first = whole.setdefault(row["sample_id"], row)
            if first is not row:
                for column in ("nll", "tokens", "chars", "bytes"):
                    first[column] += row[column]
        rows = list(whole.values())
    return [as_shown(row, position) for position, row in enumerate(rows)]


def as_shown(row: Row, position: int) -> Row:
    """What a reader wants: the label and its probability, or nats per token and bits per character."""
    if "probability" in row:
        return {"id": position, "label": row.get("prediction", row["label"]), "probability": row["probability"]}
    if "tokens" in row:
        tokens, chars = row["tokens"], row.get("chars", 0)
        return {
            "id": position,
            "nll": row["nll"] / tokens if tokens else None,
            "tokens": tokens,
            "bits_per_char": row["nll"] / math.log(2) / chars if chars else None,
        }
    return {"id": position, **row}


def as_csv(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["id"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
