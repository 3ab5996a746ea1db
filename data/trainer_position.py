"""What a training loader has to know of the trainer that iterates it."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn, TrainerStatus


def trainer_position(trainer: Trainer | None) -> tuple[int, int] | None:
    """The epoch, and how many of its batches are processed; None outside a fit.

    Fetched is not processed: workers and Lightning's fetcher take batches ahead, and while a callback looks at a new
    batch the training step has not.
    """
    if trainer is None or trainer.state.fn != TrainerFn.FITTING or trainer.state.status == TrainerStatus.FINISHED:
        return None
    loop = trainer.fit_loop
    epochs: Any = loop.epoch_progress.current
    batches: Any = loop.epoch_loop.batch_progress.current
    return epochs.processed, batches.processed
