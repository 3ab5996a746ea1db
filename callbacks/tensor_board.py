"""What TensorBoard shows beyond the scalars that everyone logs."""

from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

from ..contracts.data import AuditedSource, MixedSources
from ..contracts.run import Run
from .best_checkpoint import watched
from .evaluation import data_of, finetuner
from .factors import factors
from .results import Results
from .split_evaluation import stage_of


class TensorBoard(Callback):
    """Charts of related curves, the run's factors in the HParams view, and its configuration and data as text.

    Does nothing where the logger is not TensorBoard's. A run that goes on in its own directory has all of it there.

    Args:
        run: configuration to show.
        results: metrics to show beside the factors.
    """

    def __init__(self, run: Run, results: Results) -> None:
        self.run, self.results = run, results

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.run.goes_on:
            return
        names, data = self._metric_names(trainer, pl_module), data_of(trainer)
        for logger in tensorboard_loggers(trainer):
            writer = logger.experiment
            layout = charts(names, bool(finetuner(pl_module).regularizers), isinstance(data, MixedSources))
            writer.add_custom_scalars({"finelab": layout})
            splits = ("val", "test") if self.run.evaluate_test else ("val",)
            # Declared without a value: log_hyperparams(factors, nan) would draw a NaN into every one of these curves.
            declared: dict[str, Any] = {f"hp/{split}_{name}": None for split in splits for name in names}
            for summary in hparams(factors(self.run.config), declared):
                writer.file_writer.add_summary(summary)
            writer.add_text("config", as_code(yaml.safe_dump(reading_order(self.run.config), sort_keys=False)))
            if isinstance(data, AuditedSource):
                writer.add_text("data", as_code(data.render_report()))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = {
            f"hp/{stage_of(split)}_{name}": value
            for split, found in self.results.after.items()
            for name, value in found.items()
        }
        for logger in tensorboard_loggers(trainer):
            logger.log_metrics(metrics, step=trainer.global_step)

    def _metric_names(self, trainer: Trainer, module: LightningModule) -> list[str]:
        """The one that picks the weights first: it is the only one that the HParams table shows at once."""
        found = [name for references in self.results.before.values() for m in references.values() for name in m]
        return list(dict.fromkeys([watched(trainer, module)[0].removeprefix("val/"), "nll", *found]))


def tensorboard_loggers(trainer: Trainer) -> list[TensorBoardLogger]:
    """Where this rank may write."""
    if not trainer.is_global_zero:
        return []
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def charts(metrics: list[str], regularized: bool, mixed: bool) -> dict[str, list[Any]]:
    """The custom-scalars layout, charts in the order in which one looks at them."""
    lines = {
        "NLL per supervised token: train and validation": ["^train/nll$", "^val/nll$"],
        "NLL of each source, training": ["^train/.+/nll$"] if mixed else [],
        "NLL of each set, validation": ["^val/.+/nll$"] if mixed else [],
        "accuracy and macro-F1 (validation)": ["^val/accuracy$", "^val/macro_f1$"] if "accuracy" in metrics else [],
        "calibration error (validation)": ["^val/ece$"] if "ece" in metrics else [],
        "bits per character (validation)": ["^val/bits_per_char$"] if "bits_per_char" in metrics else [],
        "objective: NLL with every term": ["^train/loss$", "^train/nll$"],
        "regularizers, unweighted": ["^reg/.*"] if regularized else [],
        "gradient norm before clipping": ["^grad/norm$"],
        "learning rate": ["^train/lr$"],
        "tokens per second": ["^sys/.*tokens_per_second$"],
        "peak memory (GiB)": ["^sys/peak_memory_gib$"],
    }
    return {title: ["Multiline", tags] for title, tags in lines.items() if tags}


def reading_order(config: dict[str, Any]) -> dict[str, Any]:
    """What defines the experiment before the trainer's many settings."""
    return {key: config[key] for key in ("seeds", "model", "data") if key in config} | config


def as_code(text: str) -> str:
    """An indented Markdown block: a fence could be closed by what it holds."""
    return "\n".join(f"    {line}" for line in text.splitlines())
