"""That a run goes on with the data, the base and the configuration that it began with, or says what has changed."""

import os
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ..contracts.config_diff import DATA, Change
from ..contracts.data import AuditedSource
from ..contracts.errors import UserError
from ..contracts.run import Run
from ..contracts.run_config import CONFIG_FILE, RunConfig
from .environment import versions
from .evaluation import data_of, finetuner, trial_batches
from .event_files import cut_back, event_sizes
from .results import Results
from .state_io import OURS

TOLERATED = {
    "model.init_args.base": ("base_digest",),
    "model.init_args.adapter": ("adapter",),
    "model.init_args": ("target",),
}
"""What a training state may differ in from the model once the change of a key is allowed; shapes may never differ."""


class Continuation(Callback):
    """Writes into each training state what it belongs to, and compares when a run goes on from one.

    Data of another fingerprint are refused unless the change of ``data`` is allowed, other versions of packages are
    noted. What has changed stands in the comments of config.yaml and in the record's notes; of a run that goes on in
    its own directory config.yaml is brought up to date once everything has been loaded, and TensorBoard's files lose
    what came after the state once training is about to begin: a resume that is refused takes nothing away.

    Args:
        run: the run.
        results: its notes end up in the record.
    """

    def __init__(self, run: Run, results: Results) -> None:
        self.run, self.results = run, results
        self._stored: dict[str, Any] = {}
        self._former = set(event_sizes(run.directory))  # before this process opens a file of its own

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for key, names in TOLERATED.items():
            if any(Change(key, "", "").is_allowed([allowed]) for allowed in self.run.allowed):
                finetuner(pl_module).tolerated |= set(names)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        said = {"config": self.run.config, "versions": versions(), "folder": os.getcwd()}
        checkpoint[OURS] = checkpoint.get(OURS, {}) | said

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._stored = checkpoint[OURS]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raises:
        UserError: the data are others.
        """
        if not self._stored:
            return
        changed = [*self.run.changed, *self._data_changed(trainer), *self._versions_changed()]
        step, config = self._stored["step"], RunConfig((), self.run.config)
        written = (self.run.directory / CONFIG_FILE).exists()  # not where Python code has made the run
        if written:
            config = RunConfig.read(self.run.directory)
        if self.run.goes_on:
            config = config.resumed(step, self.run.resume_command, changed, self.run.config)
        else:
            config = config.branched(step, changed)
            self.results.note(f"Started at step {step} from {self.run.resumed_from}, a training state of another run.")
        self.results.note(*config.notes())
        if written and trainer.is_global_zero and not trial_batches(trainer):
            config.write(self.run.directory)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.run.goes_on and self._stored and trainer.is_global_zero and not trial_batches(trainer):
            cut_back(self.run.directory, self._stored["events"], among=self._former)

    def _data_changed(self, trainer: Trainer) -> list[str]:
        data, stored = data_of(trainer), self._stored.get("fingerprint")
        if stored is None or not isinstance(data, AuditedSource) or data.fingerprint == stored:
            return []
        change = Change(DATA, str(stored), data.fingerprint)
        if not change.is_allowed(self.run.allowed):
            raise UserError(
                f"The data are not those that {self.run.resumed_from} was trained on ({change}): rows, template or "
                "tokenizer have changed. Put them back, or go on with the others by --allow-change data.fingerprint; "
                "then the order of what is left of this epoch is another."
            )
        return [str(change)]

    def _versions_changed(self) -> list[str]:
        stored, now = self._stored.get("versions", {}), versions()
        pairs = {name: (stored.get(name, "(none)"), now.get(name, "(none)")) for name in sorted(stored.keys() | now)}
        return [str(Change(f"versions.{name}", *pair)) for name, pair in pairs.items() if pair[0] != pair[1]]
