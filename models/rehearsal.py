"""One optimizer step outside the training loop, in two halves: nothing is logged, no callback and no loop sees it.

The caller puts everything back afterwards.
"""

import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.optim import Optimizer

from ..contracts.batch import Batch
from .gradients import no_sync, scale_gradients, trained
from .objective import Objective
from .window import Window

SCALE = 1024.0
"""Of the loss under float16 autocast, so that small gradients are not lost; the run's own scale is left alone."""

TRIED_RATE = 1e-3
"""In the place of a rate of 0, at which nothing could be told."""


def backward(module: Objective, batch: Batch) -> None:
    """Forward and backward of one micro-batch, as the first of a window; gradients stay on their rank.

    Raises:
        UserError: a method refuses this model or batch.
    """
    trainer: Trainer = module.trainer
    module.window = Window(sources=len(module.consumed), alone=True)
    scale = 1.0 if trainer.scaler is None else SCALE
    with no_sync(trainer.strategy):
        loss = trainer.strategy.training_step(trainer.strategy.batch_to_device(batch), 0)
        assert isinstance(loss, torch.Tensor)
        (loss * (scale / (trainer.accumulate_grad_batches * trainer.world_size))).backward()
    if scale != 1.0:
        scale_gradients(module.parameters(), 1 / scale)


def update(module: Objective, optimizer: Optimizer) -> bool:
    """The rest of the step, at the peak of the schedule: a warm-up starts at rates at which nothing moves.

    Returns:
        False where the batch has no supervised token, so that nothing moved.

    Raises:
        NonFiniteError: the objective is not finite, on every rank; or the gradient, on the ranks where it is not.
    """
    parameters = trained(optimizer)
    with no_sync(module.trainer.strategy):
        module.close_window(parameters)
        if not module.window.tokens:
            return False
        module.finish_gradients(optimizer)
    for group in optimizer.param_groups:
        if group["lr"] is not None:
            group["lr"] = group.get("initial_lr", group["lr"]) or TRIED_RATE
    optimizer.step()
    for regularizer in module.regularizers:
        regularizer.after_step(parameters)
    return True


def forget_gradients(parameters: list[nn.Parameter]) -> None:
    for p in parameters:
        p.grad = None
