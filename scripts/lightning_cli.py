"""LightningCLI as finelab uses it: three seeds, links between data and model, and a run directory of our own.

Imported only when a command runs, since it brings torch and Lightning with it.
"""

import importlib.resources
import inspect
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from transformers.utils import logging as transformers_logging

from ..callbacks.standard import standard_callbacks, state_io
from ..contracts.errors import UserError
from ..contracts.interruption import Interrupted
from ..contracts.run import RunPlace
from ..models.finetuner import FineTuner
from . import allowlist
from .class_changes import fresh_arguments
from .errors import explain, reason_of
from .fit_run import FitRun, require_answerable
from .invocation import WEIGHTS, Invocation
from .links import all_seeds, data_seed, label_names, revision_of
from .logger import RunLogger
from .prediction_stream import asks_for_text, text_stream
from .predictions import prepare_predictions, write_predictions
from .results import keep_test_metrics, show_metrics
from .run_directory import RUN_DIRECTORY
from .trained_chat import share_chat_template
from .trained_labels import read_labels, share_labels


class Parser(LightningArgumentParser):
    """Hands every message to ``explain`` instead of printing the usage and leaving."""

    invocation: Invocation

    def error(self, message: str, ex: Exception | None = None) -> Any:
        if not self.exit_on_error:  # a nested parser: jsonargparse catches this and adds where it was
            return super().error(message, ex)
        raise UserError(explain(message, self.invocation)) from ex


class LoadWeights(Callback):
    """Puts a run's best weights into the model once it is built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, FineTuner)
        pl_module.load_folder(self.folder)

    on_validation_start = on_test_start = on_predict_start = load


class FinelabCLI(LightningCLI):
    """Parses, instantiates and runs one command."""

    def __init__(self, invocation: Invocation, more: tuple[str, ...] = ()) -> None:
        """``more`` are arguments that count behind those of the command line."""
        self.invocation = invocation
        self.fit_run = FitRun(invocation)
        defaults = str(importlib.resources.files("finelab.configs") / "defaults.yaml")
        parser_class = type("Parser", (Parser,), {"invocation": invocation})
        super().__init__(
            model_class=FineTuner,
            datamodule_class=LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_class=parser_class,
            parser_kwargs={
                "prog": "finelab",
                "allow_abbrev": False,
                **{c: {"default_config_files": [defaults]} for c in self.subcommands()},
            },
            args=[*invocation.arguments, *self.trained_labels(), *more],
        )

    # ---- parsing

    def trained_labels(self) -> list[str]:
        """With --run the checkpoint says what the classes are, in the place of the data."""
        self.labels = None if self.invocation.run is None else read_labels(self.invocation.run / WEIGHTS)
        if self.labels is None:
            return []
        # As the parser's YAML reads it back: all quoted, and escaped as YAML does it, not JSON, beyond the BMP.
        listed = yaml.safe_dump(self.labels, default_style='"', default_flow_style=True, width=sys.maxsize)
        return [f"--model.init_args.labels={listed.strip()}"]

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The commands and the arguments of the trainer's methods that are no keys of a configuration.

        None is: results are shown by us, weights come from --run, and a ``weights_only: false`` in YAML would let a
        checkpoint run code.
        """
        ours = {"ckpt_path", "weights_only", "verbose", "return_predictions"}
        return {
            name: skip | (ours & inspect.signature(getattr(Trainer, name)).parameters.keys())
            for name, skip in LightningCLI.subcommands().items()
        }

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Leaves out seed_everything, which pairs no data order; ``seeds`` stands in its place."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--seeds", type=int | dict[str, int], default=1, help="one integer, or {data, init, train}")
        parser.add_class_arguments(RunPlace, "run")
        parser.add_argument("--monitor", type=str | None, default=None, help="metric that picks the best weights")
        parser.add_argument("--evaluate_test", type=bool, default=False, help="read the test split after training")
        parser.link_arguments("seeds", "model.init_args.seeds", compute_fn=all_seeds)
        parser.link_arguments("seeds", "data.init_args.seed", compute_fn=data_seed)
        parser.link_arguments("model.init_args.base", "data.init_args.base")
        parser.link_arguments("model.init_args.loading", "data.init_args.revision", compute_fn=revision_of)
        if self.invocation.run is None:
            parser.link_arguments("data", "model.init_args.labels", compute_fn=label_names, apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        with fresh_arguments():
            self.config = parser.parse_args(args)

    def _set_seed(self) -> None:
        """Nothing to do: every draw has a seed of its own, derived from ``seeds``."""

    # ---- building

    def instantiate_classes(self) -> None:
        try:
            self.build()
        except (TypeError, ValueError, MisconfigurationException) as error:
            reason = reason_of(error, self.invocation)
        else:
            return
        raise reason  # out here, so that the parser's long wrapping is not shown with it

    def build(self) -> None:
        super().instantiate_classes()
        if self.invocation.run is not None:
            share_labels(self.datamodule, self.labels)
            share_chat_template(self.datamodule, self.invocation.run / WEIGHTS)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        self.model.check_data(self.datamodule)  # pyright: ignore[reportCallIssue]
        try:
            callbacks, forced = self.trainer_arguments()
            trainer = super().instantiate_trainer(callbacks=callbacks, **forced, **kwargs)
            if self.subcommand == "fit":
                require_answerable(trainer)
            return trainer
        except BaseException:
            self.fit_run.remove()
            raise

    def trainer_arguments(self) -> tuple[list[Callback], dict[str, Any]]:
        """The callbacks, and what counts before the configuration."""
        config = self._get(self.config_init, "trainer")
        callbacks = as_list(config["callbacks"])
        forced: dict[str, Any] = {"use_distributed_sampler": False, "logger": config["logger"] or False}
        if self.subcommand == "fit":
            run = self.fit_run.start(self.resolved_config())
            callbacks = standard_callbacks(run, callbacks)
            forced |= {"default_root_dir": run.directory, "plugins": [*as_list(config["plugins"]), state_io(run)]}
            if config["logger"] in (None, True):
                forced["logger"] = RunLogger(run.directory)
            elif config["logger"] and run.goes_on:
                warn_of_the_curve(as_list(config["logger"]))
        elif self.invocation.run is not None:
            callbacks.append(LoadWeights(self.invocation.run / WEIGHTS))
        if self.subcommand == "predict":
            forced |= {"devices": 1, "num_nodes": 1}  # one stream of rows, in input order
            if self.invocation.output in (None, "-"):
                forced["enable_progress_bar"] = False
        forced["enable_checkpointing"] = any(isinstance(callback, Checkpoint) for callback in callbacks)
        return callbacks, forced

    def resolved_config(self) -> dict[str, Any]:
        """Every value as it was used; loadable again with -c, so without what links fill in."""
        assert self.subcommand is not None
        parser = self._parser(self.subcommand)
        config = yaml.safe_load(parser.dump(self.config[self.subcommand], skip_unset=False, skip_link_targets=True))
        return config | {"seeds": all_seeds(config["seeds"])}

    # ---- running

    def _run_subcommand(self, subcommand: str) -> None:
        run = partial(super()._run_subcommand, subcommand)
        try:
            if subcommand == "fit":
                self.train(run)
            else:
                run()
        except MisconfigurationException as error:
            raise UserError(str(error)) from error
        except SIGTERMException as stop:  # which has no code: it would end the process as if all were done
            raise Interrupted(signal.SIGTERM) from stop

    def train(self, fit: Callable[[], None]) -> None:
        try:
            self.fit_run.train(fit, self.trainer)
        finally:
            self.fit_run.release()

    def fit(self, **arguments: Any) -> None:
        self.trainer.fit(ckpt_path=self.invocation.state, **arguments)

    def validate(self, **arguments: Any) -> None:
        show_metrics(self.trainer.validate(verbose=False, **arguments))

    def test(self, **arguments: Any) -> None:
        metrics = self.trainer.test(verbose=False, **arguments)
        show_metrics(metrics)
        if self.invocation.run is not None and self.trainer.is_global_zero:
            keep_test_metrics(self.invocation, metrics)

    def predict(self, **arguments: Any) -> None:
        prepare_predictions(self.datamodule, self.invocation)
        stream = text_stream(self.datamodule, self.model, self.resolved_config(), self.invocation)
        if stream is not None:
            self.trainer.callbacks.append(stream)  # pyright: ignore[reportAttributeAccessIssue]
            stream.run(partial(self.trainer.predict, self.model, return_predictions=False))
            return
        batches = self.trainer.predict(return_predictions=True, **arguments)
        found, writes_text = cast(list[dict[str, list]], batches or []), asks_for_text(self.datamodule, self.model)
        write_predictions(self.datamodule, found, self.invocation, writes_text)


def warn_of_the_curve(loggers: list[Any]) -> None:
    names = " and ".join(type(logger).__name__ for logger in loggers)
    rank_zero_warn(
        f"trainer.logger: {names} is not cut back to the training state, as the run's own TensorBoard files are: the "
        "curve up to here may be deleted (CSVLogger does so), begin anew, or have points twice. Give it another folder "
        "for what follows, or leave trainer.logger out."
    )


def as_list(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, list) else [given]


HARMLESS = (
    "`loftq_config` specified but will be ignored",  # every field of a peft configuration is given, defaults too
    "It is recommended to use `self.log('",  # what we log of an evaluation is that of all ranks already
    "`isinstance(treespec, LeafSpec)` is deprecated",  # inside Lightning
    "`is_gradient_checkpointing` is deprecated",  # inside transformers
)


def without_advertisement(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()


def quiet() -> None:
    """Switch off what the libraries say beside the point."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(without_advertisement)
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message=re.escape(message))
    # models.backbone itself refuses a base that lacks weights, so that transformers' report and bar say nothing more.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def execute(invocation: Invocation) -> None:
    """Run one command from its invocation to its end.

    Raises:
        UserError: whatever the user can put right; a run that fails so before its first step leaves nothing.
    """
    allowlist.enforce(invocation.trusted)
    quiet()
    try:
        FinelabCLI(invocation)
    finally:
        os.environ.pop(RUN_DIRECTORY, None)
