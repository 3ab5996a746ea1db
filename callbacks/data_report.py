"""What is in the data, shown before the first step and kept with the run."""

import json
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from ..contracts.data import AuditedSource
from ..contracts.files import write_atomically
from .evaluation import data_of, trial_batches

REPORT_FILE = "data_report.json"


class DataReport(Callback):
    """Prints the report of an audited data module and saves it as ``data_report.json``.

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
            text = json.dumps(data.report, indent=1, ensure_ascii=False)
            write_atomically(self.directory / REPORT_FILE, text + "\n")
