"""What TensorBoard shows beyond the scalars that everyone logs."""

from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

from ..contracts.data import AuditedSource, MixedSources, ProbeSource
from ..contracts.run import Run
from ..contracts.verdict import Label
from .best_checkpoint import watched
from .card_verdict import verdict_panel
from .charts import Watched, layout
from .clip_share import clip_threshold
from .evaluation import callbacks_of, data_of, finetuner
from .factors import factors
from .measure import verdict_of
from .panels import as_code, as_text
from .results import Results
from .split_evaluation import stage_of


class TensorBoard(Callback):
    """Charts of related curves, the run's factors in the HParams view, its configuration and data as text, and the
    verdict as text at each change and at the end.

    Does nothing where the logger is not TensorBoard's. A run that goes on in its own directory has all of it there.

    Args:
        run: configuration to show.
        results: metrics to show beside the factors.
    """

    def __init__(self, run: Run, results: Results) -> None:
        self.run, self.results = run, results
        self.label: Label | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.run.goes_on:
            return
        names, data = self._metric_names(trainer, pl_module), data_of(trainer)
        charts = layout(watched_of(trainer, pl_module, names))
        for logger in tensorboard_loggers(trainer):
            writer = logger.experiment
            writer.add_custom_scalars(charts)
            splits = ("val", "test") if self.run.evaluate_test else ("val",)
            # Declared without a value: log_hyperparams(factors, nan) would draw a NaN into every one of these curves.
            declared: dict[str, Any] = {f"hp/{split}_{name}": None for split in splits for name in names}
            for summary in hparams(factors(self.run.config), declared):
                writer.file_writer.add_summary(summary)
            writer.add_text("config", as_code(yaml.safe_dump(reading_order(self.run.config), sort_keys=False)))
            if isinstance(data, AuditedSource):
                writer.add_text("data", as_code(data.render_report()))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._show_verdict(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show_verdict(trainer, at_the_end=True)
        metrics = {
            f"hp/{stage_of(split)}_{name}": value
            for split, found in self.results.after.items()
            for name, value in found.items()
        }
        for logger in tensorboard_loggers(trainer):
            logger.log_metrics(metrics, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"label": self.label}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.label = state_dict["label"]

    def _show_verdict(self, trainer: Trainer, at_the_end: bool = False) -> None:
        """Whenever it has changed, and the last one with all that it rests on."""
        verdict = verdict_of(trainer)
        if verdict is None or (verdict.label == self.label and not at_the_end):
            return
        self.label = verdict.label
        for logger in tensorboard_loggers(trainer):
            logger.experiment.add_text("verdict", as_code(as_text(verdict_panel(verdict))), trainer.global_step)

    def _metric_names(self, trainer: Trainer, module: LightningModule) -> list[str]:
        """The one that picks the weights first: it is the only one that the HParams table shows at once."""
        found = [name for references in self.results.before.values() for m in references.values() for name in m]
        return list(dict.fromkeys([watched(trainer, module)[0].removeprefix("val/"), "nll", *found]))


def tensorboard_loggers(trainer: Trainer) -> list[TensorBoardLogger]:
    """Where this rank may write."""
    if not trainer.is_global_zero:
        return []
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def watched_of(trainer: Trainer, module: LightningModule, metrics: list[str]) -> Watched:
    callbacks = frozenset(kind.__name__ for each in callbacks_of(trainer) for kind in type(each).__mro__)
    return Watched(
        metrics=metrics,
        callbacks=callbacks,
        gap="Probes" in callbacks and isinstance(data_of(trainer), ProbeSource),
        regularized=bool(finetuner(module).regularizers),
        mixed=isinstance(data_of(trainer), MixedSources),
        clips=clip_threshold(trainer) is not None,
    )


def reading_order(config: dict[str, Any]) -> dict[str, Any]:
    """What defines the experiment before the trainer's many settings."""
    return {key: config[key] for key in ("seeds", "model", "data") if key in config} | config
