"""Stopping when the validation metric that picks the weights says that training has gone on for long enough."""

from typing import Any, Literal

import lightning.pytorch.callbacks as lightning_callbacks
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.utilities import rank_zero_info

from ..contracts.errors import UserError
from .best_checkpoint import BestCheckpoint, watched
from .evaluation import callbacks_of, trial_batches
from .monitor import monitored, require_logged
from .probe_errors import ProbeErrors
from .probes import probes_of, require_probes_before
from .stopping.criterion import Criterion
from .stopping.curve import Curve
from .stopping.judgement import Judgement
from .stopping.patience import Patience

SHARES = {"accuracy", "subset_accuracy", "macro_f1", "micro_f1", "f1", "precision", "recall", "exact_match"}
"""Metrics between 0 and 1 of which 1 is the best, so that what is missing to 1 is an error."""


class EarlyStopping(lightning_callbacks.EarlyStopping):
    """Watches what ``BestCheckpoint`` watches, stops by a criterion, and says in a sentence why and where the best was.

    ``BestCheckpoint`` then loads the best trainable weights into the module that is there: the base is not read again.
    A loss that is not finite is an error elsewhere, not a quiet stop; a run without validation is never stopped. The
    criterion is a pure function of the evaluations so far, so that a resumed run stops where one that was never
    interrupted does, and a different criterion may go on from a training state.

    ``GL`` and ``PQ`` divide errors. A metric to be minimised is the error itself; of a share to be maximised (accuracy,
    F1, exact match) it is what is missing to 1; others to be maximised are refused. ``PQ`` needs the same error of
    training rows, from ``Probes``, and so watches ``val/nll`` or ``val/accuracy``.

    ``min_delta: auto`` takes the smallest change that counts from the rows themselves: two paired standard errors of
    their losses, clustered by document, between the evaluations that are compared. A rise within that is none, under
    every criterion. It too needs ``Probes`` and watches ``val/nll`` or ``val/accuracy``. A number has Lightning's
    meaning under ``Patience``, an improvement by no more than that is none, and makes it stop sooner; under the other
    criteria a rise by no more than that is none.

    Args:
        monitor: e.g. ``val/nll``; by default the metric that picks the weights.
        mode: whether more is better; needed only for a metric of your own.
        patience: validations without an improvement, 3 by default; short for the criterion ``Patience``.
        min_delta: smallest change that counts, in the unit of the metric; or ``auto``.
        criterion: ``Patience``, ``GL``, ``PQ`` or ``UP`` of ``finelab.callbacks.stopping``.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Literal["max", "min"] | None = None,
        patience: int | None = None,
        min_delta: float | Literal["auto"] = 0.0,
        criterion: Criterion | None = None,
    ) -> None:
        if criterion is not None and patience is not None:
            raise UserError(
                f"EarlyStopping has patience ({patience}) and a criterion ({type(criterion).__name__}); patience is "
                "short for the criterion finelab.callbacks.stopping.Patience. Leave out one of them."
            )
        patience = 3 if patience is None else patience
        self.criterion = criterion or Patience(patience)
        super().__init__(monitor or "", patience=patience, mode=mode or "min", strict=False, check_finite=False)
        self.given_mode = mode
        self.noise_counts = min_delta == "auto"
        self.smallest_change = 0.0 if min_delta == "auto" else abs(min_delta)
        self.steps: list[int] = []
        self.values: list[float] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not self.given_mode:
            self.monitor, self.mode = (
                monitored(self.monitor, pl_module) if self.monitor else watched(trainer, pl_module)
            )
        if stage == "fit":
            self._require_what_is_needed(trainer)
        super().setup(trainer, pl_module, stage)
        self._check_on_train_epoch_end = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        require_logged(self.monitor, trainer.callback_metrics)
        if trial_batches(trainer):
            return
        self.steps.append(trainer.global_step)
        self.values.append(trainer.callback_metrics[self.monitor].item())
        curve = self._curve(trainer)
        self._keep_best(curve.best())
        judgement = self.criterion.judge(curve)
        # The ranks see the same numbers; should one of them differ in a last bit, it must not go on alone.
        if trainer.strategy.reduce_boolean_decision(judgement.stops, all=False):
            trainer.should_stop = True
            if self.stopping_reason_message is None:
                self._explain(trainer, pl_module, judgement)

    # ---- what the criterion is given

    def _curve(self, trainer: Trainer) -> Curve:
        errors = [self._error(value) for value in self.values]
        if not (self.noise_counts or self.criterion.needs_train):
            return Curve(errors, min_delta=self.smallest_change)
        probes = self._probe_errors(trainer)
        train = [probes.train(step) for step in self.steps] if self.criterion.needs_train else []
        noise = (lambda newer, older: probes.noise(self.steps[newer], self.steps[older])) if self.noise_counts else None
        return Curve(errors, train, self.smallest_change, noise)

    def _error(self, value: float) -> float:
        """Less is better."""
        if self.mode == "max":
            return max(1 - value, 0.0) if self.criterion.is_relative else -value  # a float may exceed 1 by a bit
        if self.criterion.is_relative and value < 0:
            raise UserError(
                f"EarlyStopping by {type(self.criterion).__name__} divides errors, which must not be negative, and "
                f"{self.monitor} is {value:.6g}. Stop by finelab.callbacks.stopping.Patience or UP."
            )
        return value

    def _probe_errors(self, trainer: Trainer) -> ProbeErrors:
        probes = probes_of(trainer)
        series = probes.series if probes else None
        lacking = None
        if series is None or not set(self.steps) <= set(series.steps.tolist()):
            lacking = (probes.given_up if probes else None) or "Probes must stand before EarlyStopping"
        elif self.criterion.needs_train and series.train is None:
            lacking = "the data gives no training rows to look at"
        elif self.monitor == "val/accuracy" and series.a.right is None:
            lacking = "nothing of this target can be right or wrong; monitor val/nll"
        if series is None or lacking is not None:
            raise UserError(f"EarlyStopping with {self._what_needs_rows()} needs the errors of single rows: {lacking}.")
        return ProbeErrors(series, self.monitor)

    def _require_what_is_needed(self, trainer: Trainer) -> None:
        name = type(self.criterion).__name__
        if self.criterion.is_relative and self.mode == "max" and self.monitor.rpartition("/")[2] not in SHARES:
            raise UserError(
                f"EarlyStopping by {name} divides errors, and monitor is {self.monitor!r}, which is to be maximised: "
                "nothing says what its error is. Monitor val/nll, or stop by Patience or UP."
            )
        if not (self.noise_counts or self.criterion.needs_train):
            return
        if self.monitor not in ProbeErrors.METRICS:
            raise UserError(
                f"EarlyStopping with {self._what_needs_rows()} needs the errors of single rows, and monitor is "
                f"{self.monitor!r}, which is not made of any. Monitor {' or '.join(ProbeErrors.METRICS)}."
            )
        purpose = f"EarlyStopping with {self._what_needs_rows()} needs the errors of single rows, which"
        require_probes_before(self, trainer, purpose)
        probes = probes_of(trainer)
        if self.criterion.needs_train and probes is not None and not probes.rows:
            raise UserError(
                f"EarlyStopping by {name} needs the errors of training rows, and finelab.callbacks.Probes looks at "
                "none (rows: 0). Raise its rows, or stop by Patience, GL or UP."
            )

    def _what_needs_rows(self) -> str:
        return f"criterion {type(self.criterion).__name__}" if self.criterion.needs_train else "min_delta auto"

    # ---- what others see, as Lightning names it

    def _keep_best(self, best: int | None) -> None:
        self.wait_count = len(self.values) if best is None else len(self.values) - 1 - best
        if best is not None:
            self.best_score = torch.tensor(self.values[best])

    def _explain(self, trainer: Trainer, module: LightningModule, judgement: Judgement) -> None:
        self.stopped_epoch = trainer.current_epoch
        self.stopping_reason = EarlyStoppingReason.PATIENCE_EXHAUSTED
        best = len(self.values) - 1 - self.wait_count
        found = "it was never defined"
        if best >= 0:
            found = f"the best was {self.values[best]:.4g} at step {self.steps[best]}"
            restores = any(isinstance(callback, BestCheckpoint) for callback in callbacks_of(trainer))
            if restores and watched(trainer, module)[0] == self.monitor:
                found += ", whose weights are restored"
        self.stopping_reason_message = (
            f"Early stopping at step {trainer.global_step} by {type(self.criterion).__name__}: "
            f"{judgement.value:.4g} {judgement.meaning} (limit {judgement.threshold:g}). "
            f"{self.monitor} is {self.values[-1]:.4g}; {found}."
        )
        rank_zero_info(self.stopping_reason_message)

    # ---- keeping

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"steps": list(self.steps), "values": list(self.values)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """How it stands; the patience is the configuration's."""
        super().load_state_dict(state_dict | {"patience": self.patience})
        self.steps, self.values = list(state_dict["steps"]), list(state_dict["values"])
