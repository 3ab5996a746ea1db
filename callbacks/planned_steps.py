"""How long a run will be, and how often it will be validated."""

import math

from lightning.pytorch import Trainer


def total_steps(trainer: Trainer) -> int | None:
    """Optimizer steps of the whole run, from what the trainer already knows: asking it for
    ``estimated_stepping_batches`` would set up the loaders again."""
    limits = [trainer.max_steps] if trainer.max_steps > 0 else []
    if trainer.max_epochs and trainer.max_epochs > 0 and math.isfinite(trainer.num_training_batches):
        limits.append(math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches) * trainer.max_epochs)
    return min(limits, default=None)


def planned_evaluations(trainer: Trainer) -> int:
    """Validations of the whole run, from what the trainer knows; 0 where it does not know."""
    steps, every = total_steps(trainer), trainer.val_check_batch
    if steps is None or every is None:
        return 0
    if not math.isfinite(every):
        every = trainer.num_training_batches
    if trainer.check_val_every_n_epoch is not None and every == trainer.num_training_batches:
        every *= trainer.check_val_every_n_epoch
    if not math.isfinite(every):
        return 0
    return max(1, int(steps * trainer.accumulate_grad_batches / every))
