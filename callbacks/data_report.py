"""What is in the data, shown before the first step and kept with the run."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ..contracts.data import AuditedSource
from ..contracts.files import write_atomically
from ..data.report_page import render_page
from .evaluation import data_of, trial_batches

REPORT_FILE = "data_report.json"
PAGE_FILE = "data_report.html"


class DataReport(Callback):
    """Prints the report of an audited data module and saves it as ``data_report.json`` and ``data_report.html``.

    Args:
        directory: the run's; None saves nothing.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = data_of(trainer)
        if not isinstance(data, AuditedSource) or not trainer.is_global_zero:
            return
        print(data.render_report(), end="\n\n", flush=True)
        if self.directory is not None and not trial_batches(trainer):
            write_report(data.report, self.directory)


def write_report(report: dict[str, Any], folder: Path) -> None:
    """The report as JSON and as a page; strict JSON, so that what a record cannot hold shows before training."""
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / REPORT_FILE, text + "\n")
    write_atomically(folder / PAGE_FILE, render_page(report))
