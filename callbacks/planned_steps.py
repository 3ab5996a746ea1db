"""How long a run will be, and how often it will be validated."""

import math

import numpy as np
from lightning.pytorch import Trainer


def total_steps(trainer: Trainer) -> int | None:
    """Optimizer steps of the whole run, from what the trainer already knows: asking it for
    ``estimated_stepping_batches`` would set up the loaders again."""
    limits = [trainer.max_steps] if trainer.max_steps > 0 else []
    if trainer.max_epochs and trainer.max_epochs > 0 and math.isfinite(trainer.num_training_batches):
        limits.append(math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches) * trainer.max_epochs)
    return min(limits, default=None)


def planned_evaluations(trainer: Trainer) -> int:
    """Optimizer steps at which the weights of the whole run are evaluated, from what the trainer knows; 0 where it does
    not know. The last weights count where a checkpoint callback evaluates what no validation has seen.

    An interval counts within its epoch, unless ``check_val_every_n_epoch`` is None; several validations within an
    accumulation window see the same weights.
    """
    steps, every, epochs = total_steps(trainer), trainer.val_check_batch, trainer.check_val_every_n_epoch
    if not steps or every is None:
        return 0
    length, accumulated = trainer.num_training_batches, trainer.accumulate_grad_batches
    if not math.isfinite(length):
        length, epochs = steps * accumulated, None  # of a stream the epochs are not known
    every = min(every, length) if epochs is not None else every
    if not math.isfinite(every):
        return 0
    steps_of_an_epoch = math.ceil(length / accumulated)
    whole, rest = divmod(steps, steps_of_an_epoch)
    batches = whole * length + rest * accumulated
    validated = np.arange(every, batches + 1, every) - 1
    if epochs is not None:
        one = np.arange(every, length + 1, every) - 1
        validated = (np.arange(epochs - 1, whole + 1, epochs)[:, None] * length + one).ravel()
        validated = validated[validated < batches]
    epoch, place = validated // length, validated % length + 1
    after = epoch * steps_of_an_epoch + np.where(place == length, steps_of_an_epoch, place // accumulated)
    seen = set(after.tolist())
    return len(seen | {steps}) if trainer.checkpoint_callbacks else len(seen)
