"""record.json: written last, so that its presence means something."""

import json
import math
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from ..contracts.data import AuditedSource
from ..contracts.files import write_atomically
from ..contracts.interruption import Interrupted
from ..contracts.record import RECORD_FILE, Best, Cost, Record, SplitResult, Status, write_record
from ..contracts.run import Run
from ..contracts.run_config import config_digest
from ..models.finetuner import FineTuner
from ..models.non_finite_error import NonFiniteError
from ..models.window import Consumed
from .best_checkpoint import BestCheckpoint
from .environment import hardware, versions
from .evaluation import data_of, finetuner, trial_batches
from .factors import class_name, described, statement, trained_share
from .failure import Failure
from .history import History
from .measure import findings_of, verdict_of
from .order_digest import OrderDigest
from .results import Results
from .throughput import Throughput

LARGEST_SUMMARY = 2_000
ERROR_FILE = "error.txt"


class RunRecord(Callback):
    """Writes ``record.json``: finished, interrupted, or which kind of failure (``Failure``); of a failure also
    ``error.txt``, the traceback.

    A run whose metrics are not finite is a failed run. A trial run (``fast_dev_run``) leaves no record. A run that goes
    on loses the record of its interruption once it trains, and has one again at its end.

    Args:
        run: what is being recorded.
        results: of the evaluations.
        best: which weights were kept.
        throughput: what was consumed, and how fast.
        order: digest of the training order.
        history: one entry per validation.
    """

    def __init__(
        self,
        run: Run,
        results: Results,
        best: BestCheckpoint,
        throughput: Throughput,
        order: OrderDigest,
        history: History,
    ) -> None:
        self.run, self.results, self.best = run, results, best
        self.throughput, self.order, self.history = throughput, order, history
        self.record: Record | None = None
        # Asked for once training starts and not before: of data that cannot be read, the report cannot be had either.
        self._data: dict[str, Any] = {}
        self.resumed: list[dict[str, Any]] = []
        self._resumes = False
        self._begin()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._begin()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        tuner = finetuner(pl_module)
        said = statement(adapter_summary(tuner, self.run.config))
        rank_zero_info(f"Training {trained_share(*tuner.parameter_counts())}; {said}.")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._data = data_summary(data_of(trainer))
        if self._resumes:
            self._resumes = False
            now = datetime.now(UTC).isoformat(timespec="seconds")
            command = list(self.run.resume_command)
            self.resumed.append({"step": trainer.global_step, "time": now, "command": command})
        if trainer.is_global_zero:
            (self.run.directory / RECORD_FILE).unlink(missing_ok=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raises:
        NonFiniteError: a metric of the tuned model is not finite; on every rank.
        """
        if trial_batches(trainer):
            return
        require_finite(self.results.after)
        if trainer.is_global_zero:
            record = self._build(trainer, pl_module, "finished", None)
            write_record(record, self.run.directory)
            (self.run.directory / ERROR_FILE).unlink(missing_ok=True)
            self.record = record

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """By the rank that fails first: the others hear of it only as a connection that is gone."""
        path = self.run.directory / RECORD_FILE
        # What is there is of this attempt, or of one that this one could not go on from.
        if self.record is not None or trial_batches(trainer) or path.exists():
            return
        if isinstance(exception, Interrupted | NonFiniteError) and not trainer.is_global_zero:
            return
        failure = Failure.of(exception, self.run.directory, self.run.config)
        error = {"type": type(exception).__name__, "message": failure.message}

        def write() -> None:
            self.record = self._build(trainer, pl_module, failure.status, error)
            write_record(self.record, self.run.directory)

        self._write_if_possible(failure.status, write)
        if failure.status != "interrupted":
            trace = "".join(traceback.format_exception(exception))
            self._write_if_possible("its traceback", partial(write_atomically, self.run.directory / ERROR_FILE, trace))

    def _write_if_possible(self, what: str, write: Callable[[], object]) -> None:
        """What ended the run is still to be raised, whatever keeps its record from being written."""
        try:
            write()
        except Exception as refused:
            said = f"{type(refused).__name__}: {refused}"
            print(f"finelab: the record ({what}) could not be written either: {said}", file=sys.stderr)

    def state_dict(self) -> dict[str, Any]:
        return {
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": time.monotonic() - self._clock,
            "resumed": self.resumed,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._started = datetime.fromisoformat(state_dict["started"])
        self._clock -= state_dict["seconds"]
        self.resumed, self._resumes = [dict(entry) for entry in state_dict["resumed"]], True

    def _begin(self) -> None:
        self._started, self._clock = datetime.now(UTC), time.monotonic()

    def _build(
        self,
        trainer: Trainer,
        module: LightningModule,
        status: Status,
        error: dict[str, str] | None,
    ) -> Record:
        tuner, results = finetuner(module), self.results
        trainable, total = tuner.parameter_counts()
        metrics = {
            split: SplitResult(
                results.rows[split],
                results.before.get(split, {}),
                results.after.get(split, {}),
                results.missing.get(split, {}),
                results.tables.get(split, {}),
            )
            for split in results.rows
        }
        return Record(
            status=status,
            started=self._started.isoformat(timespec="seconds"),
            command=list(self.run.command),
            seeds=self.run.seeds.as_dict(),
            config_digest=config_digest(self.run.config),
            base=tuner.base,
            base_revision=tuner.base_revision,
            parameters={"trainable": trainable, "total": total},
            adapter=adapter_summary(tuner, self.run.config),
            regularizers=configured(self.run.config, "regularizers"),
            learning_rates=configured(self.run.config, "learning_rates"),
            data=self._data | consumption(tuner.consumed),
            metrics=metrics if status == "finished" else finite_only(metrics),
            best=self._best(trainer),
            history=self.history.entries,
            examples=results.examples,
            test_read=results.test_read,
            order_digest=self.order.digest,
            order_trail=self.order.trail.as_dict() if self.order.trail is not None else {},
            cost=self._cost(trainer, module),
            versions=versions(),
            hardware=hardware(trainer.world_size),
            notes=self._notes(module),
            error=error,
            resumed=self.resumed,
            verdict=verdict_of(trainer),
            findings=findings_of(trainer) if status == "finished" else {},
        )

    def _best(self, trainer: Trainer) -> Best | None:
        if self.best.monitor is None:
            return None
        step = self.best.step if self.best.value is not None else trainer.global_step
        return Best(self.best.monitor, self.best.mode, self.best.value, step)

    def _cost(self, trainer: Trainer, module: LightningModule) -> Cost:
        tuner = finetuner(module)
        return Cost(
            total_seconds=time.monotonic() - self._clock,
            training_seconds=self.throughput.clock.seconds,
            steps=trainer.global_step,
            skipped_steps=tuner.skipped_steps,
            examples=self.throughput.examples,
            supervised_tokens=tuner.supervised_tokens,
            input_tokens=self.throughput.input_tokens,
            peak_memory_bytes=self.throughput.peak_memory_bytes(module),
        )

    def _notes(self, module: LightningModule) -> list[str]:
        notes = [*finetuner(module).loading_notes, *self.results.notes]
        if not self.results.rows:
            notes.append("Nothing was evaluated: there is no validation split, and the test split was not read.")
        if skipped := finetuner(module).skipped_steps:
            notes.append(f"{skipped} optimizer steps had no supervised token and moved no weight.")
        return notes


def require_finite(metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Raises:
    NonFiniteError: names the split and the metric.
    """
    for split, found in metrics.items():
        for name, value in found.items():
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"{name} of the {split} split after training is {value}, so that this run has no result. Look at "
                    "the curve of train/nll, and lower model.init_args.optimizer.init_args.lr."
                )


def adapter_summary(tuner: FineTuner, config: dict[str, Any]) -> dict[str, Any]:
    """By the class that the user named, which tells PEFT's methods apart; without a configuration by our own."""
    adapter, entry = tuner.adapter, config.get("model", {}).get("init_args", {}).get("adapter")
    said = {"name": class_name(entry), **described(entry)} if class_name(entry) else {"name": type(adapter).__name__}
    return said | {"merges": adapter.merges, "base_is": adapter.base_is}


def configured(config: dict[str, Any], key: str) -> list[dict[str, Any]]:
    return [described(entry) for entry in config.get("model", {}).get("init_args", {}).get(key) or []]


def data_summary(data: object) -> dict[str, Any]:
    """The fingerprint, and those parts of the data report that are short; the whole is in data_report.json."""
    if not isinstance(data, AuditedSource):
        return {}
    short = {key: part for key, part in data.report.items() if len(json.dumps(part)) <= LARGEST_SUMMARY}
    return {"fingerprint": data.fingerprint, **short}


def consumption(consumed: Mapping[str, Consumed]) -> dict[str, Any]:
    """What each source of a mixture gave to training, over all ranks and epochs; nothing in a run on a single one."""
    if not consumed:
        return {}
    found = {name: {"rows": own.rows, "supervised_tokens": own.tokens} for name, own in consumed.items()}
    return {"consumed": found}


def finite_only(metrics: dict[str, SplitResult]) -> dict[str, SplitResult]:
    """What a failed run may keep: its schema takes no NaN either."""

    def finite(found: dict[str, float]) -> dict[str, float]:
        return {name: value for name, value in found.items() if math.isfinite(value)}

    return {
        split: SplitResult(part.rows, {name: finite(m) for name, m in part.before.items()}, finite(part.after))
        for split, part in metrics.items()
    }
