"""Metrics of validate and test: a small table; of test also test.json in the run, and a mark in its record."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

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


def write_test_metrics(invocation: Invocation, metrics: Metrics) -> None:
    """Write the metrics into the run that was tested, whole or not at all."""
    assert invocation.run is not None
    path = invocation.run / "test.json"
    values = {name: value for part in metrics for name, value in part.items()}
    write_atomically(path, json.dumps({"metrics": values, "command": list(invocation.written)}, indent=2) + "\n")
    print(f"written to {path}")


def note_test_read(run: Path) -> None:
    """Let the record say that the run's test split has been read; a run without a record has none to correct.

    Raises:
        UserError: the record is not valid.
    """
    if (run / RECORD_FILE).exists():
        write_record(replace(read_record(run), test_read=True), run)
