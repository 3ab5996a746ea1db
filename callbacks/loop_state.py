"""Lightning's loop progress at an optimizer-step boundary, in the forms from which it restarts exactly.

Written against the restart logic of Lightning 2.6.6 (``_TrainingEpochLoop.reset`` and ``advance``, ``_FitLoop.run``).
"""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loops.fit_loop import _FitLoop

BATCHES = "epoch_loop.batch_progress"
VALIDATION = "epoch_loop.val_loop.batch_progress"


def settled(loops: dict[str, Any]) -> dict[str, Any]:
    """The step before is done, logged and validated; a batch that was fetched since has not happened.

    To Lightning a checkpoint of the last batch's very end, after which it trains on and validates nothing again.
    """
    fit = loops["fit_loop"]
    batches = level(fit[BATCHES]) | {"is_last_batch": False}
    # Of a validation that was itself resumed, Lightning's total would look like one that has broken off.
    return loops | {"fit_loop": fit | {BATCHES: batches, VALIDATION: level(fit[VALIDATION])}}


def pending(loops: dict[str, Any]) -> dict[str, Any]:
    """The step before is done, and its validation is still due: to Lightning one that broke off in its first batch."""
    fit = loops["fit_loop"]
    nothing = {"ready": 0, "started": 0, "processed": 0, "completed": 0}
    broken_off = fit[VALIDATION] | {"total": nothing | {"ready": 1, "started": 1}, "current": nothing}
    return loops | {"fit_loop": fit | {BATCHES: level(fit[BATCHES]), VALIDATION: broken_off}}


def ended(loops: dict[str, Any]) -> dict[str, Any]:
    """The last step is done and validated as far as the loops do; only ``on_train_end`` is still due."""
    return loops


def level(progress: dict[str, Any]) -> dict[str, Any]:
    """Every counter at what is completed."""
    counts = {part: dict.fromkeys(progress[part], progress[part]["completed"]) for part in ("total", "current")}
    return progress | counts


class ResumedFitLoop(_FitLoop):
    """Gets to ``on_train_end`` also where no step is left to be taken; Lightning's leaves at once then."""

    @property
    def skip(self) -> bool:
        return self.trainer.limit_train_batches == 0

    @classmethod
    def take_over(cls, trainer: Trainer) -> None:
        """From the loop that the trainer has; its progress and its children stay."""
        trainer.fit_loop.__class__ = cls


def position_loader(trainer: Trainer) -> None:
    """A schedule asks for the number of steps before the loops are restored; Lightning (2.6.6) would then go on with
    the loader that it has made for that, at its start."""
    fit = trainer.fit_loop
    if fit._combined_loader_states_to_load:
        fit._load_combined_loader_states()
        assert fit._data_fetcher is not None
        iter(fit._data_fetcher)
