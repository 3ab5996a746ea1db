"""What can be known to go wrong is said before the first step."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from ..contracts.data import RehearsalBatches, RehearsalSource
from ..contracts.errors import UserError
from ..contracts.finding import Finding
from .checks.check import SECTIONS, Section, Subject, all_checks
from .checks.trial import Rehearsal
from .evaluation import data_of, finetuner, trial_batches
from .results import Results


class Preflight(Callback):
    """Runs every check of ``callbacks/checks`` before anything is evaluated or trained.

    The first steps (``Rehearsal``) are left out where the user does not want them, in a trial run and on a resume: the
    run has made steps before. They leave no trace: a run is bit for bit the same with and without.

    Args:
        config: the resolved configuration.
        folder: where the run writes.
        rehearse: whether the first steps are tried.
        results: whose notes get the warnings.
    """

    def __init__(
        self, config: Mapping[str, Any], folder: Path, rehearse: bool = True, results: Results | None = None
    ) -> None:
        self.config, self.folder, self.rehearse, self.results = config, folder, rehearse, results
        self.sections: dict[Section, list[Finding]] = {}
        self.batches: dict[str, RehearsalBatches] = {}
        self.seconds = 0.0

    @property
    def findings(self) -> list[Finding]:
        return [finding for found in self.sections.values() for finding in found]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raises:
        UserError: a check found an error.
        """
        began = time.monotonic()
        self.look(trainer, pl_module)
        self.seconds = time.monotonic() - began
        self.report()

    def look(self, trainer: Trainer, module: LightningModule) -> None:
        data, tuner = data_of(trainer), finetuner(module)
        self.batches = rehearsed(data)
        wanted = self.rehearse and not trial_batches(trainer) and trainer.ckpt_path is None
        trial = Rehearsal(trainer, tuner).run(self.batches) if wanted and "train" in self.batches else None
        subject = Subject(trainer, tuner, data, self.config, self.folder, self.batches, trial)
        self.sections = {section: [] for section in SECTIONS}
        for check in all_checks():
            if trial is not None or not check.needs_trial:
                self.sections[check.section] += check.look(subject)

    def report(self) -> None:
        """Warnings once, then one paragraph for each error."""
        warnings = [finding for finding in self.findings if finding.level == "warning"]
        errors = [finding for finding in self.findings if finding.level == "error"]
        for finding in warnings:
            rank_zero_warn(finding.paragraph)
            if self.results is not None:
                self.results.note(finding.paragraph)
        if errors:
            raise UserError("\n".join(finding.paragraph for finding in errors))
        found = f"{len(warnings)} warning{'s' * (len(warnings) != 1)}"
        rank_zero_info(f"Checked before training: {len(self.findings)} findings, {found} ({self.seconds:.1f} s).")


def rehearsed(data: object) -> dict[str, RehearsalBatches]:
    if not isinstance(data, RehearsalSource):
        return {}
    found = {split: data.rehearsal(split) for split in ("train", "validation")}
    return {split: batches for split, batches in found.items() if batches is not None}
