"""A few real training steps of one configuration, for the estimates of a study's plan."""

import statistics
from collections.abc import Mapping
from itertools import islice

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils import flop_counter

from ..callbacks.checks.trial import Rehearsal, Trial
from ..callbacks.evaluation import data_of, finetuner
from ..callbacks.planned_steps import total_steps
from ..callbacks.preflight import rehearsed
from ..callbacks.throughput import real_tokens
from ..callbacks.untouched import untouched
from ..contracts.data import RehearsalBatches
from ..contracts.errors import UserError
from ..studies.resolution import Measured

TIMED = 3
COUNTED = 200
"""Most training batches whose tokens are counted."""
ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: flop_counter.sdpa_flop,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_counter.sdpa_backward_flop,
}
"""What torch's own table of formulas lacks."""


class MeasuredError(Exception):
    """Ends a fit before anything is trained: all is known."""


class Measurement(Callback):
    """Takes steps on a typical batch, then ends the fit.

    The steps are those of ``Rehearsal``, at the longest batch first, so that the peak of memory is that of the run.
    """

    measured: Measured | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raises:
        UserError: the steps fail, the run has no end, or the data module cannot give batches to try.
        MeasuredError: always in the end.
        """
        batches = rehearsed(data_of(trainer))
        if "train" not in batches:
            raise UserError(
                f"{type(data_of(trainer)).__name__} gives no batches to try, so that no step can be measured."
            )
        steps = total_steps(trainer)
        if steps is None:
            raise UserError("trainer.max_steps and trainer.max_epochs set no end; a run of a study ends.")
        rehearsal = Rehearsal(trainer, finetuner(pl_module))
        trial = rehearsal.run(batches)
        require_sound(trial)
        seconds, flops = step_costs(rehearsal, batches)
        accumulated = trainer.accumulate_grad_batches
        parameters = list(pl_module.parameters())
        self.measured = Measured(
            seconds_per_step=seconds * accumulated,
            flops_per_step=flops * accumulated or None,
            tokens_per_step=tokens_of_a_batch(trainer) * accumulated,
            planned_steps=steps,
            evaluation_seconds=trial.evaluation_seconds * float(sum(trainer.num_val_batches)),
            peak_memory_bytes=trial.peak_memory_bytes,
            trainable=sum(p.numel() for p in parameters if p.requires_grad),
            total=sum(p.numel() for p in parameters),
        )
        raise MeasuredError


def require_sound(trial: Trial) -> None:
    """Raises:
    UserError: the first steps would fail in every cell of the arm.
    """
    if trial.out_of_memory is not None:
        raise UserError(
            f"memory ran out in the first steps ({trial.out_of_memory}, {trial.shape[0]} rows of {trial.shape[1]} "
            f"tokens): "
            "lower data.batch_size and raise trainer.accumulate_grad_batches, or shorten data.context."
        )
    if fault := trial.refused or trial.not_finite:
        raise UserError(fault)


def step_costs(rehearsal: Rehearsal, batches: Mapping[str, RehearsalBatches]) -> tuple[float, float]:
    """Seconds (the median of a few) and floating-point operations of one micro-batch with its update."""
    batch = batches["train"].typical
    (optimizer,) = rehearsal.trainer.optimizers
    counter = flop_counter.FlopCounterMode(display=False, custom_mapping=ATTENTION)
    seconds = []
    with untouched(rehearsal.module, rehearsal.trainer.optimizers):
        rehearsal.module.on_train_start()
        for _ in range(1 + TIMED):
            began = rehearsal.clock()
            rehearsal.backward(batch)
            rehearsal.update(optimizer)
            seconds.append(rehearsal.clock() - began)
        with counter:
            rehearsal.backward(batch)
            rehearsal.update(optimizer)
    return statistics.median(seconds[1:]), float(counter.get_total_flops())


def tokens_of_a_batch(trainer: Trainer) -> float:
    """Input tokens without pads, the mean over the batches of the first epoch (no more than ``COUNTED``)."""
    loader = trainer.train_dataloader
    assert loader is not None
    counts = [float(real_tokens(batch)) for batch in islice(loader, COUNTED)]
    return statistics.fmean(counts) * trainer.world_size
