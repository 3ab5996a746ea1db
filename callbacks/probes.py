"""Fixed rows of training and validation, looked at in every validation: what a verdict about a run is made of."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer

from ..contracts.data import ProbeSource, Split
from ..contracts.errors import UserError
from ..contracts.seeds import derive
from ..models.set_meters import sets_apart
from .evaluation import Evaluation, callbacks_of, data_of, example_columns, finetuner, gathered, trial_batches
from .evidence.probe_series import ProbeSeries
from .example_files import write_examples
from .halves import Halves
from .measure import Measure, missing
from .planned_steps import planned_evaluations
from .probe_rows import Columns, OtherRows, ProbeRows, mean_nll
from .split_evaluation import has_split

FOLDER = Path("predictions") / "probes"


class Probes(Measure):
    """Keeps the loss and correctness of every probed row at every validation.

    TRAIN-PROBE: as many training rows as validation has, at most ``rows``, drawn with the data seed; in evaluation
    mode, with the templates of validation, without noise, dropout or smoothing. VAL-A and VAL-B: the validation rows
    in two ``Halves``, documents as wholes. A verdict chooses a checkpoint by each half and tests it on the other; the
    best weights of a run are picked by the whole validation split. The validation rows cost nothing beside Lightning's
    own pass over them.

    Logs ``probe/train/nll``, ``probe/val_a/nll`` and ``probe/val_b/nll`` (nats per supervised token), and ``gap/nll``,
    the whole validation's less the train probe's. Of a base that can do the task from the start the loss of these rows
    under the base is kept as well.

    Args:
        rows: most training rows; 0 looks at none.
        directory: of the run; every evaluation leaves ``predictions/probes/SET-STEP.parquet`` there, with the rows that
            are kept: at most 5,000 of each set, a random choice of more. None for no files.

    Raises:
        UserError: rows is negative.
    """

    def __init__(self, rows: int = 512, directory: Path | None = None) -> None:
        if rows < 0:
            raise UserError(
                f"finelab.callbacks.Probes: rows is {rows}; it is the most training rows to look at, and 0 looks at "
                "none."
            )
        self.rows, self.directory = rows, directory
        self.train, self.validation = ProbeRows(), ProbeRows()
        self.steps: list[int] = []
        self.distances: list[float] = []
        self.travelled = 0.0
        self.planned = 0
        self.references: dict[str, Columns] = {}
        self._seed = 0
        self._data: object = None
        self._seen: list[Columns] = []
        self._pooled: set[int] = set()
        self._pending: tuple[Columns, Columns] | None = None
        self.given_up: str | None = None

    @property
    def series(self) -> ProbeSeries | None:
        """None before the first evaluation, and where validation is switched off."""
        if not self.steps:
            return None
        a = self.validation.first_half
        base = {"train": self.train.base, "a": None, "b": None}
        if self.validation.base is not None:
            base |= {"a": self.validation.base[a], "b": self.validation.base[~a]}
        return ProbeSeries(
            steps=np.array(self.steps),
            travelled=np.array(self.distances),
            train=self.train.probe_set() if self.train.known else None,
            a=self.validation.probe_set(a),
            b=self.validation.probe_set(~a),
            base={name: values for name, values in base.items() if values is not None},
            planned=self.planned,
        )

    # ---- what Lightning's validation shows

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.directory is not None and trainer.is_global_zero:
            for path in (self.directory / FOLDER).glob("*-*.parquet"):
                if int(path.stem.rpartition("-")[2]) > trainer.global_step:
                    path.unlink()  # of what a run did before it went on from here
        self._data = data_of(trainer)
        self._seed = derive("halves", finetuner(pl_module).seeds.data)
        self.planned = planned_evaluations(trainer)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self.travelled += max(float(group["lr"]) for group in optimizer.param_groups)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        sets = sets_apart(trainer, "validation")
        self._pooled = {index for index, each in enumerate(sets) if each.pooled} if sets else {0}
        self._seen = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._watches(trainer) and dataloader_idx in self._pooled:
            self._seen.append(outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._watches(trainer):
            return
        everywhere = [columns for part in gathered(self._seen) for columns in part]
        validation = ProbeRows.merged(everywhere)
        self._seen = []
        if not validation:
            return
        train = self._evaluate_train(trainer, pl_module, len(validation["sample_id"]))
        self._pending = train, validation
        pl_module.log_dict(self._losses(train, validation), rank_zero_only=False, batch_size=1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._pending is not None and self._watches(trainer):
            self._add(trainer, *self._pending)
        self._pending = None

    # ---- and others

    def measure_base(self, trainer: Trainer, module: LightningModule) -> None:
        if finetuner(module).has_fresh_head or trial_batches(trainer) or not has_split(trainer, "validation"):
            return
        if self.validation.base_columns is not None:
            columns = self._evaluate_train(trainer, module, len(self.validation.base_columns["sample_id"]))
            self.train.take_base(columns)

    def take_reference(self, name: str, evaluation: Evaluation) -> None:
        """A reference's own evaluation of validation, by all ranks; ``base`` is that of the untouched base."""
        columns = ProbeRows.merged([gathered(evaluation.examples)[0]])
        if name == "base":
            self.validation.take_base(columns)
        else:
            self.references[name] = columns

    def reference(self, name: str) -> Columns:
        """Of just the validation rows that are kept: a validation may be limited, and see fewer than the reference did.
        Empty where the reference has not seen them all, and before the first evaluation."""
        found = (self.validation.base_columns or {}) if name == "base" else self.references.get(name, {})
        return self.validation.known_to(found) if self.validation.known else {}

    def take_last(self, trainer: Trainer, module: LightningModule, evaluation: Evaluation) -> None:
        """The weights at the end of training, where no validation was due; by all ranks."""
        validation = ProbeRows.merged([gathered(evaluation.examples)[0]])
        if validation:
            train = self._evaluate_train(trainer, module, len(validation["sample_id"]))
            self._add(trainer, train, validation)
            for logger in trainer.loggers:
                logger.log_metrics(self._losses(train, validation), step=trainer.global_step)

    def findings(self) -> dict[str, Any]:
        if not self.steps:
            return missing(self.given_up or "there was no validation")
        half = self.validation.first_half
        sizes = {"train": len(self.train), "val_a": int(half.sum()), "val_b": int((~half).sum())}
        folder = {} if self.directory is None else {"folder": str(FOLDER)}
        return {"rows": sizes, "steps": self.steps, **folder}

    # ---- keeping

    def state_dict(self) -> dict[str, Any]:
        own = {"steps": self.steps, "distances": self.distances, "travelled": self.travelled}
        own |= {"given_up": self.given_up}
        own |= {"references": {name: as_tensors(columns) for name, columns in self.references.items()}}
        return own | {"train": self.train.state(), "validation": self.validation.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self.distances = list(state_dict["steps"]), list(state_dict["distances"])
        self.travelled, self.given_up = state_dict["travelled"], state_dict["given_up"]
        self.references = {name: as_arrays(columns) for name, columns in state_dict["references"].items()}
        self.train.restore(state_dict["train"])
        self.validation.restore(state_dict["validation"])

    def _watches(self, trainer: Trainer) -> bool:
        return trainer.state.fn == "fit" and not trainer.sanity_checking and not trial_batches(trainer)

    def _evaluate_train(self, trainer: Trainer, module: LightningModule, validation_rows: int) -> Columns:
        """By all ranks, and the same on each; empty where there is nothing to look at."""
        data, rows = data_of(trainer), min(self.rows, validation_rows)
        loader = data.probe_loader(rows) if isinstance(data, ProbeSource) and rows else None
        if loader is None:
            return {}
        own = example_columns(module, loader, trainer)
        return ProbeRows.merged([columns for part in gathered(own) for columns in part])

    def _add(self, trainer: Trainer, train: Columns, validation: Columns) -> None:
        if trainer.global_step in self.steps or self.given_up is not None:
            return
        try:
            if train:
                self.train.add(train, self._documents("train", train), self._seed)
            self.validation.add(validation, self._documents("validation", validation), self._seed)
            self.references = {name: self.validation.known_to(columns) for name, columns in self.references.items()}
        except OtherRows:
            self._give_up()
            return
        self.steps.append(trainer.global_step)
        self.distances.append(self.travelled)
        if self.directory is not None and trainer.is_global_zero:
            for name, columns in (("train", train), ("validation", validation)):
                if columns:
                    path = self.directory / FOLDER / f"{name}-{trainer.global_step:08d}.parquet"
                    kept = (self.train if name == "train" else self.validation).kept(columns)
                    write_examples({key: values.tolist() for key, values in kept.items()}, path)

    def _losses(self, train: Columns, validation: Columns) -> dict[str, float]:
        samples = validation["sample_id"]
        first = Halves(samples, self._documents("validation", validation), self._seed).first(samples)
        found = {
            f"probe/val_{name}/nll": mean_nll({key: values[rows] for key, values in validation.items()})
            for name, rows in (("a", first), ("b", ~first))
            if rows.any()
        }
        if train:
            own = mean_nll(train)
            found |= {"probe/train/nll": own, "gap/nll": mean_nll(validation) - own}
        return found

    def _give_up(self) -> None:
        self.given_up = "a validation saw other rows than the first one, so that losses cannot be compared row by row"
        rank_zero_warn(f"Probes: {self.given_up}. Do not shuffle validation rows.")
        self.steps, self.distances = [], []
        self.train, self.validation = ProbeRows(), ProbeRows()

    def _documents(self, split: Split, columns: Columns) -> np.ndarray:
        samples = columns["sample_id"]
        return self._data.document_of(split, samples) if isinstance(self._data, ProbeSource) else samples


def as_tensors(columns: Columns) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values.copy()) for name, values in columns.items()}


def as_arrays(columns: dict[str, torch.Tensor]) -> Columns:
    return {name: values.numpy() for name, values in columns.items()}


def require_probes_before(callback: Callback, trainer: Trainer, purpose: str) -> None:
    """Raises:
    UserError: no ``Probes`` stand before the callback that reads them.
    """
    listed, probes = callbacks_of(trainer), probes_of(trainer)
    if probes is None or listed.index(probes) > listed.index(callback):
        own = type(callback).__name__
        raise UserError(
            f"{purpose} finelab.callbacks.Probes keeps, and none stands before it in trainer.callbacks; add it there: "
            f"[Probes(), {own}()]."
        )


def probes_of(trainer: Trainer) -> Probes | None:
    return next((callback for callback in callbacks_of(trainer) if isinstance(callback, Probes)), None)
