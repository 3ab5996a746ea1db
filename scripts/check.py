"""``finelab check``: everything that fit checks before it starts, and nothing else."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI

from ..callbacks.decoded_example import DecodedExample, decoded_example
from ..callbacks.evaluation import data_of, finetuner
from ..callbacks.preflight import Preflight
from ..contracts.data import AuditedSource, RehearsalSource
from ..contracts.finding import worst
from . import allowlist
from .check_output import show_example, show_findings, write_findings
from .fit_run import require_answerable
from .invocation import Invocation
from .lightning_cli import FinelabCLI, quiet


class CheckedError(Exception):
    """Ends a fit before anything is trained: all is known."""


class Inspection(Preflight):
    """Shows every finding and ends the fit."""

    example: DecodedExample | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = data_of(trainer)
        if isinstance(data, AuditedSource) and trainer.is_global_zero:
            print(data.render_report(), end="\n\n", flush=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        data = data_of(trainer)
        if trainer.is_global_zero:
            if isinstance(data, RehearsalSource) and "train" in self.batches:
                kind = finetuner(pl_module).target_kind
                self.example = decoded_example(self.batches["train"].sample, data, kind)
                show_example(self.example)
            show_findings(self.sections, self.seconds)
        raise CheckedError

    def report(self) -> None:
        """Nothing: all of it is shown."""


class CheckCLI(FinelabCLI):
    """Parses and builds a configuration as fit does, without a run directory."""

    inspection: Inspection

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Of the configured callbacks and loggers none: they might write."""
        self.model.check_data(self.datamodule)  # pyright: ignore[reportCallIssue]
        config = self.resolved_config()
        self.inspection = Inspection(config, Path(config["run"]["root"]).expanduser())
        off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "use_distributed_sampler"), False)
        trainer = LightningCLI.instantiate_trainer(self, callbacks=[self.inspection], **off, **kwargs)
        require_answerable(trainer)
        return trainer

    def fit(self, **arguments: Any) -> None:
        try:
            self.trainer.fit(**arguments)
        except CheckedError:
            return

    def train(self, fit: Callable[[], None]) -> None:
        """There is no run that would have to be answered for."""
        fit()


@contextmanager
def only_warnings(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def check_configuration(invocation: Invocation) -> int:
    """Run every check, show what was found, and write it where ``--output`` says.

    Returns:
        1 where something is an error, else 0.

    Raises:
        UserError: the configuration is refused before it can be checked.
    """
    allowlist.enforce(invocation.trusted)
    quiet()
    with only_warnings(logging.getLogger("lightning.pytorch")):
        inspection = CheckCLI(invocation).inspection
    if invocation.output is not None:
        write_findings(inspection.findings, inspection.example, Path(invocation.output))
    return int(worst(inspection.findings) == "error")
