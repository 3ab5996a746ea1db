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
ADDED = {"nll", "tokens", "chars", "bytes"}


@runtime_checkable
class PredictionSource(Protocol):
    """A data module that reads examples from a file.

    Attributes:
        predict_input: the file, or "-" for stdin; None predicts on the module's own rows.
        predict_ids: the ids of the examples in input order; filled by ``predict_dataloader``.
        predict_rows: of every sample the position of its example in ``predict_ids``; filled likewise.
    """

    predict_input: str | None
    predict_ids: Sequence[Any]
    predict_rows: Sequence[int]


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
            "--input out to predict on its own rows, or give the class the attributes predict_input, "
            "predict_ids and predict_rows."
        )
    data.predict_input = invocation.input


def write_predictions(
    data: object, batches: Sequence[Mapping[str, list]], invocation: Invocation, writes_text: bool = False
) -> None:
    """Write one line per example, whole or not at all.

    Args:
        data: names the examples.
        batches: what ``predict_step`` returned.
        invocation: says where to.
        writes_text: the model generates, which cannot be seen where it was asked nothing.

    Raises:
        UserError: the predictions are not one per sample.
    """
    samples = [
        dict(zip(batch, values, strict=True)) for batch in batches for values in zip(*batch.values(), strict=True)
    ]
    ids = positions = range(len(samples))
    if isinstance(data, PredictionSource) and data.predict_ids:
        ids, positions = data.predict_ids, data.predict_rows
    if len(samples) != len(positions):
        raise UserError(
            f"{len(samples)} predictions came back for {len(positions)} samples, so nothing was written; the model's "
            "predict_step must return one entry per row of the batch, and trainer.limit_predict_batches and "
            "trainer.fast_dev_run must not stop it."
        )
    missing = left_out(samples, writes_text)
    rows = [{"id": example} | as_shown(sample) for example, sample in whole_examples(ids, positions, samples, missing)]
    target = invocation.output or "-"
    text = as_csv(rows) if Path(target).suffix == ".csv" else "".join(json.dumps(row) + "\n" for row in rows)
    if target == "-":
        sys.stdout.write(text)
    else:
        write_atomically(Path(target), text)
        print(f"{len(rows)} predictions written to {target}")


def left_out(samples: Sequence[Row], writes_text: bool) -> Row:
    """What stands for an example without a sample, in the columns of the others."""
    if writes_text:
        return {"text": None, "ended": False}
    if not samples or "tokens" in samples[0]:
        return {"nll": 0.0, "tokens": 0}
    return dict.fromkeys(as_shown(samples[0]))


def whole_examples(
    ids: Sequence[Any], positions: Sequence[int], samples: Sequence[Row], missing: Row
) -> list[tuple[Any, Row]]:
    """Adds up the windows that a long text was cut into.

    Args:
        ids: one per example.
        positions: per sample, its example.
        samples: what the model said.
        missing: stands for an example without a sample.

    Returns:
        Every example once, in input order.
    """
    found: dict[int, Row] = {}
    for position, sample in zip(positions, samples, strict=True):
        if position not in found:
            found[position] = dict(sample)
        else:
            for column in ADDED & sample.keys():
                found[position][column] += sample[column]
    return [(example, found.get(position, missing)) for position, example in enumerate(ids)]


def as_shown(sample: Row) -> Row:
    """What a reader wants: the label and its probability, or nats per token and bits per character."""
    if "probability" in sample:
        return {"label": sample["label"], "probability": sample["probability"]}
    if "nll" not in sample:
        return {name: value for name, value in sample.items() if name not in ("sample_id", "source_id")}
    tokens, chars = sample["tokens"], sample.get("chars", 0)
    return {
        "nll": sample["nll"] / tokens if tokens else None,
        "tokens": tokens,
        "bits_per_char": sample["nll"] / math.log(2) / chars if chars else None,
    }


def as_csv(rows: list[Row]) -> str:
    """Cells that hold a list or a mapping are JSON."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["id"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: as_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def as_cell(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
