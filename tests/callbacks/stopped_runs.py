"""Small runs that are stopped at a chosen moment and go on in a fresh trainer, and what there is to compare."""

import functools
import hashlib
import json
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from peft import LoraConfig
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray

from finelab import callbacks, models
from finelab.callbacks.standard import standard_callbacks, state_io
from finelab.contracts.record import read_record
from finelab.contracts.run import Run
from finelab.contracts.run_config import CONFIG_FILE, RunConfig
from finelab.contracts.seeds import Seeds
from finelab.contracts.state_folder import latest_state, sweep
from finelab.data import Classification, MixtureDataModule, StreamingTextDataModule, TextDataModule
from finelab.data.loader_options import LoaderOptions
from finelab.data.mixture_specs import SourceSpec
from finelab.models.warmup_linear import WarmupLinear
from finelab.scripts.logger import RunLogger

WORDS = ["red", "green", "blue", "old", "new", "small", "large", "round", "wet", "dry", "warm", "cold", "slow", "fast"]
SIZES = {"train": 50, "validation": 14, "test": 9}
TIMED = ("sys/supervised_tokens_per_second", "sys/input_tokens_per_second", "sys/examples_per_second")
TIMED += ("sys/step_seconds", "sys/peak_memory_gib")
"""Points whose place has to be the same, and whose value is a time or a memory."""


class Killed(BaseException):
    """The end of a process, as far as one process can play it."""


class Watch(L.Callback):
    """Notes every step, draws from every global generator, and counts as a user's callback with a state would."""

    def __init__(self) -> None:
        self.steps: dict[int, dict[str, Any]] = {}
        self.validations: dict[int, dict[str, float]] = {}
        self.batches = self.last = 0
        self.ids: list[int] = []
        self.draws: list[float] = []

    def on_train_start(self, trainer, pl_module) -> None:
        self.last = trainer.global_step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.batches += 1
        self.ids += batch["sample_id"].tolist()
        self.draws += [random.random(), float(np.random.rand()), float(torch.rand(()))]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.last:
            return
        self.last = trainer.global_step
        optimizer = trainer.optimizers[0]
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name[:3] != "val"}
        self.steps[self.last] = {
            "epoch": trainer.current_epoch,
            "ids": self.ids,
            "draws": self.draws,
            "metrics": metrics,
            "weights": digest_of([p for p in pl_module.parameters() if p.requires_grad]),
            "optimizer": digest_of(tensors_in(optimizer.state_dict()["state"])),
            "rates": [group["lr"] for group in optimizer.param_groups],
            "schedule": [config.scheduler.state_dict()["last_epoch"] for config in trainer.lr_scheduler_configs],
            "batches": self.batches,
            "supervised": pl_module.supervised_tokens,
            "unit": pl_module.unit,
        }
        self.ids, self.draws = [], []

    def on_validation_end(self, trainer, pl_module) -> None:
        found = {name: float(value) for name, value in trainer.callback_metrics.items() if name[:3] == "val"}
        self.validations[trainer.global_step] = found

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_state_dict(self, state_dict) -> None:
        self.batches = state_dict["batches"]


class Stop(L.Callback):
    """Sends a signal, or ends the run at once, at the n-th call of a hook; ``score``: a batch of the last evaluation.

    Args:
        hook: of a callback, or ``score``.
        count: at which call, from 1, in the session that it belongs to.
        kills: whether the process is as good as killed; otherwise it gets a SIGTERM.
    """

    def __init__(self, hook: str, count: int = 1, kills: bool = False) -> None:
        self.hook, self.count, self.kills = hook, count, kills
        if hook != "score":
            setattr(self, hook, self.called)

    def called(self, *args: Any, **kwargs: Any) -> None:
        self.count -= 1
        if self.count == 0:
            if self.kills:
                raise Killed
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_end(self, trainer, pl_module) -> None:
        if self.hook == "score":
            score = pl_module.score

            def counting(batch):
                self.called()
                return score(batch)

            pl_module.score = counting


def tensors_in(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree]
    items = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ()
    return [tensor for item in items for tensor in tensors_in(item)]


def digest_of(tensors: Sequence[torch.Tensor]) -> str:
    made = hashlib.sha256()
    for tensor in tensors:
        made.update(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return made.hexdigest()


@dataclass
class Case:
    """How a run trains.

    Args:
        folder: where its rows and runs lie.
        trainer: options of the trainer.
        data: text, mixture or stream.
        evaluate_test: whether the test split is read at the end.
        own: makes the user's callbacks.
        save_steps: steps between two states.
        module: options of the module.
        workers: processes of the loader.
    """

    folder: Path
    trainer: dict[str, Any] = field(default_factory=dict)
    data: str = "text"
    evaluate_test: bool = False
    own: Callable[[], list[L.Callback]] = lambda: [callbacks.EarlyStopping(patience=5)]
    save_steps: int | None = None
    module: dict[str, Any] = field(default_factory=dict)
    workers: int = 0

    def rows(self, name: str, count: int, start: int) -> str:
        file = self.folder / f"{name}.jsonl"
        if not file.exists():
            lines = []
            for number in range(start, start + count):
                text = " ".join(WORDS[(number * 7 + k) % len(WORDS)] for k in range(1 + number * 5 % 9))
                lines.append(json.dumps({"text": f"{text} {number}", "label": number % 3 % 2}) + "\n")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(lines))
        return str(file)

    def files(self, prefix: str = "", start: int = 0) -> dict[str, str]:
        starts = {"train": start, "validation": start + 1000, "test": start + 2000}
        return {split: self.rows(f"{prefix}{split}", SIZES[split], starts[split]) for split in SIZES}

    def make_data(self) -> L.LightningDataModule:
        template = Classification(names=["no", "yes"])
        options = {"context": 64, "batch_size": 4, "cache_dir": str(self.folder / "tokens")}
        options["loader"] = LoaderOptions(num_workers=self.workers)
        if self.data == "mixture":
            parts = {name: SourceSpec(self.files(name, 5000 * i)) for i, name in enumerate("ab")}
            return MixtureDataModule(parts, "tiny://bert", template, **options)
        if self.data == "stream":
            return StreamingTextDataModule(self.files(), template, "tiny://bert", buffer=10, **options)
        return TextDataModule(self.files(), template, "tiny://bert", **options)

    def make_module(self) -> models.SequenceClassifier:
        targets = r".*\.(query|value)"  # of a list PEFT makes a set, which is written in any order
        settings = {
            "adapter": LoraConfig(r=2, lora_alpha=4, lora_dropout=0.1, target_modules=targets),
            "optimizer": functools.partial(torch.optim.AdamW, lr=0.02),
            "schedule": WarmupLinear(),
        }
        return models.SequenceClassifier("tiny://bert", labels=["no", "yes"], **(settings | self.module))

    def session(
        self, name: str, stop: Stop | None = None, state: Path | None = None
    ) -> tuple[Watch, models.SequenceClassifier]:
        """One process's part of a run: from the run's newest state where it has one, or from another run's.

        Raises:
            SystemExit: it was interrupted.
            Killed: as good as killed.
        """
        directory = self.folder / name
        directory.mkdir(exist_ok=True)
        sweep(directory)
        state = state or latest_state(directory)
        config = {
            "monitor": "val/nll",
            "trainer": {"max_epochs": 2},
            "run": {"save_minutes": None, "save_steps": self.save_steps},
        }
        run = Run(directory, config, ("finelab", "fit"), self.evaluate_test, Seeds(), state)
        if not (directory / CONFIG_FILE).exists():
            RunConfig.of_new_run(("finelab", "fit"), config).write(directory)
        watch = Watch()
        settings = {"max_epochs": 2, "accumulate_grad_batches": 3, "log_every_n_steps": 2, "gradient_clip_val": 1.0}
        settings |= {"accelerator": "cpu", "num_sanity_val_steps": 0, "use_distributed_sampler": False}
        settings |= {"enable_progress_bar": False, "enable_model_summary": False}
        own = [watch, *self.own(), *([stop] if stop else [])]
        every = [each for each in standard_callbacks(run, own) if not isinstance(each, L.pytorch.callbacks.ProgressBar)]
        trainer = L.Trainer(
            default_root_dir=directory,
            callbacks=every,
            logger=RunLogger(directory),
            plugins=[state_io(run)],
            **(settings | self.trainer),
        )
        module = self.make_module()
        self.watched = watch
        trainer.fit(module, datamodule=self.make_data(), ckpt_path=None if state is None else str(state))
        return watch, module

    def straight(self) -> "Outcome":
        """Without a stop."""
        L.seed_everything(7, verbose=False)
        watch, _ = self.session("straight")
        return Outcome.of(self.folder / "straight", [watch])

    def stopped(self, name: str, *stops: Stop) -> "Outcome":
        """With one session for each stop, and a last one to the end."""
        L.seed_everything(7, verbose=False)
        watches = []
        for stop in stops:
            try:
                self.session(name, stop)
            except Killed:
                assert stop.kills
            except SystemExit as error:
                assert not stop.kills and error.code == 143, error.code
            else:
                raise AssertionError(f"the run was not stopped: {stop.hook} was called too rarely")
            watches.append(self.watched)
            L.seed_everything(len(watches), verbose=False)  # whatever the next process would have drawn
        watches.append(self.session(name)[0])
        return Outcome.of(self.folder / name, watches)


@dataclass
class Outcome:
    """What a run leaves behind, without its times."""

    steps: dict[int, dict[str, Any]]
    validations: dict[int, dict[str, float]]
    record: dict[str, Any]
    points: Counter
    texts: Counter
    files: dict[str, str]
    predictions: dict[str, Any]
    resumed: int

    @classmethod
    def of(cls, directory: Path, watches: list[Watch]) -> "Outcome":
        steps: dict[int, dict[str, Any]] = {}
        validations: dict[int, dict[str, float]] = {}
        for watch in watches:  # what was done twice has to be the same both times
            for into, found in ((steps, watch.steps), (validations, watch.validations)):
                for step, seen in found.items():
                    differ(into.get(step, seen), seen, f"step {step}, done twice")
                into |= found
        record = asdict(read_record(directory))
        resumed = len(record.pop("resumed"))
        for name in ("started", "command", "hardware", "versions"):
            record.pop(name)
        for name in ("total_seconds", "training_seconds", "peak_memory_bytes"):
            record["cost"].pop(name)
        record["data"].pop("cache", None)
        checkpoints = directory / "checkpoints"
        files = {
            path.relative_to(checkpoints).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(checkpoints.rglob("*"))
            if path.is_file() and path.parent.name in ("best", "last")
        }
        files |= dict.fromkeys(sorted(path.name for path in checkpoints.iterdir()), "")
        predictions = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (directory / "predictions").rglob("*.parquet")
        }
        return cls(steps, validations, record, *events_of(directory), files, predictions, resumed)


def events_of(directory: Path) -> tuple[Counter, Counter]:
    """(tag, step, value) of every scalar of every event file, and (tag, digest) of every text and summary."""
    points, texts = Counter(), Counter()
    for file in sorted(directory.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars" and value.HasField("tensor"):
                    number = float(make_ndarray(value.tensor))
                    shown = None if value.tag in TIMED else "NaN" if number != number else number
                    points[value.tag, event.step, shown] += 1
                elif value.tag != "card/text_summary":
                    texts[value.tag] += 1
    return points, texts


def differ(expected: Any, found: Any, where: str) -> None:
    """Raises:
    AssertionError: naming the first thing that is not exactly the same.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        assert expected.keys() == found.keys(), f"{where}: {sorted(map(str, expected.keys() ^ found.keys()))[:8]}"
        for key in expected:
            differ(expected[key], found[key], f"{where}.{key}")
    else:
        both_undefined = expected != expected and found != found
        assert expected == found or both_undefined, f"{where}: {expected} and {found}"


def compare(expected: Outcome, found: Outcome) -> None:
    """Raises:
    AssertionError: naming the first thing that a stop has changed.
    """
    for name in ("steps", "validations", "record", "points", "texts", "files", "predictions"):
        differ(getattr(expected, name), getattr(found, name), name)


def remove(case: Case, name: str) -> None:
    shutil.rmtree(case.folder / name)
