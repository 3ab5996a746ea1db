"""Metrics of validate and test: a small table; of test also test.json in the run, and a mark in its record."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..contracts.errors import UserError
from ..contracts.files import write_atomically
from ..contracts.record import RECORD_FILE, read_record, write_record
from .invocation import Invocation

Metrics = Sequence[Mapping[str, float]]


def show_metrics(metrics: Metrics) -> None:
    """Print one line per metric."""
    values = {name: value for part in metrics for name, value in part.items()}
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        print(f"{name:<{width}}  {value:.6g}")


def keep_test_metrics(invocation: Invocation, metrics: Metrics) -> None:
    """Into the run that was tested: the metrics, whole or not at all, and a mark in its record.

    Raises:
        UserError: the run cannot be written to, or its record is not valid.
    """
    assert invocation.run is not None
    path = invocation.run / "test.json"
    values = {name: value for part in metrics for name, value in part.items()}
    try:
        write_atomically(path, json.dumps({"metrics": values, "command": list(invocation.written)}, indent=2) + "\n")
        note_test_read(invocation.run)
    except OSError as error:
        raise UserError(
            f"{invocation.run} could not be written to ({error.strerror}), so that the metrics above "
            "are kept nowhere else and the record does not say that the test split was read. Give the right to write "
            "there, or make room, and repeat the command."
        ) from error
    print(f"written to {path}")


def note_test_read(run: Path) -> None:
    """Let the record say that the run's test split has been read; a run without a record has none to correct.

    Raises:
        UserError: the record is not valid.
    """
    if (run / RECORD_FILE).exists():
        write_record(replace(read_record(run), test_read=True), run)
