"""The first steps, made before training and taken back: on the longest batch, so that memory trouble shows now."""

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from ...contracts.batch import Batch
from ...contracts.data import RehearsalBatches
from ...contracts.errors import UserError
from ...models.finetuner import FineTuner
from ...models.non_finite_error import NonFiniteError
from ...models.regularizers.regularizer import forward_drew
from ...models.rehearsal import backward, forget_gradients, update
from ..evaluation import gathered, undisturbed
from ..out_of_memory import is_out_of_memory
from ..untouched import untouched


@dataclass(frozen=True)
class Trial:
    """What three training steps (on a typical batch, on the longest, on the typical one again) and two evaluation
    batches did. The longest comes second, when the optimizer's state takes its memory.

    Args:
        shape: rows and padded tokens of the longest training batch.
        tokens: supervised tokens of all three.
        silent: trainable parameters whose gradient was zero or missing in every step.
        odd: those whose gradient was not finite in one.
        drew: whether a training forward draws a random number.
        refused: why a method refused to train.
        not_finite: what stopped being a number.
        out_of_memory: where the memory ran out: training or evaluation.
        step_seconds: of the typical batch, from forward to update, the second time; 0 where it was not reached.
        evaluation_seconds: of a typical validation batch; 0 where there is none.
        peak_memory_bytes: of the accelerator's allocations, or of the process's resident memory on a CPU.
        optimizer_bytes: of the optimizer's state.
    """

    shape: tuple[int, int]
    tokens: int = 0
    silent: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    drew: bool = True
    refused: str | None = None
    not_finite: str | None = None
    out_of_memory: str | None = None
    step_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    peak_memory_bytes: int = 0
    optimizer_bytes: int = 0


class Rehearsal:
    """Makes a ``Trial``; leaves no trace.

    Args:
        trainer: in ``on_train_start``.
        module: what trains.
    """

    def __init__(self, trainer: Trainer, module: FineTuner) -> None:
        self.trainer, self.module = trainer, module
        self.heard: set[str] = set()
        self.odd: dict[str, None] = {}
        self.tokens = 0

    def run(self, batches: Mapping[str, RehearsalBatches]) -> Trial:
        """
        Args:
            batches: of train, and of validation where there is such a split.
        """
        train = batches["train"]
        trial = Trial(shape=shape_of(train.longest))
        self.reset_peak()
        with untouched(self.module, self.trainer.optimizers):
            self.module.on_train_start()
            trial = self.steps(trial, [train.typical, train.longest, train.typical])
            if trial.out_of_memory is None and "validation" in batches:
                trial = self.evaluate(trial, batches["validation"])
            trial = replace(
                trial,
                peak_memory_bytes=self.peak(),
                optimizer_bytes=sum(map(state_bytes, self.trainer.optimizers)),
            )
        if trial.out_of_memory is not None and self.module.device.type == "cuda":
            torch.cuda.empty_cache()
        self.reset_peak()
        return merged(gathered(trial))

    def steps(self, trial: Trial, batches: list[Batch]) -> Trial:
        (optimizer,) = self.trainer.optimizers
        for position, batch in enumerate(batches):
            began = self.clock()
            fault = self.half(self.backward, batch)
            if not position:
                trial = replace(trial, drew=self.drew())
            if not any(gathered(bool(fault))):  # all ranks go on or none
                fault = self.half(self.update, optimizer)
            if any(gathered(bool(fault))):
                return replace(trial, odd=tuple(self.odd), **fault)
            trial = replace(trial, tokens=self.tokens, step_seconds=self.clock() - began)
        idle = self.module.adapter.idle(self.module.adapted)
        mute = [name for name, _ in self.trains() if name not in self.heard]
        silent = tuple(name for name in mute if not any(part in name for part in idle))
        return replace(trial, odd=tuple(self.odd), silent=silent)

    def half(self, work, argument, phase: str = "training") -> dict[str, str]:
        """Of ``Trial`` what went wrong in one half of a step, or in an evaluation."""
        try:
            work(argument)
        except NonFiniteError as error:
            return {"not_finite": str(error)}
        except UserError as error:
            return {"refused": str(error)}
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            forget_gradients(list(self.module.parameters()))
            return {"out_of_memory": phase}
        return {}

    def backward(self, batch: Batch) -> None:
        forget_gradients(list(self.module.parameters()))
        backward(self.module, batch)
        self.tokens += self.module.window.tokens
        for name, p in self.trains():
            if p.grad is not None:
                if not bool(p.grad.isfinite().all()):
                    self.odd[name] = None
                if bool(p.grad.any()):
                    self.heard.add(name)

    def update(self, optimizer: Optimizer) -> None:
        update(self.module, optimizer)

    def evaluate(self, trial: Trial, batches: RehearsalBatches) -> Trial:
        meter = self.module.full_meter().to(self.module.device)
        for batch in (batches.longest, batches.typical):
            began = self.clock()

            def score(batch: Batch) -> None:
                batch = self.trainer.strategy.batch_to_device(batch)
                with undisturbed(self.module), self.trainer.precision_plugin.forward_context():
                    meter.update(self.module.score(batch), batch)

            if fault := self.half(score, batch, "evaluation"):
                return replace(trial, **fault)
            trial = replace(trial, evaluation_seconds=self.clock() - began)
        return trial

    def trains(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.module.named_parameters() if p.requires_grad]

    def drew(self) -> bool:
        return forward_drew(self.module.device)

    def clock(self) -> float:
        if self.module.device.type == "cuda":
            torch.cuda.synchronize(self.module.device)
        return time.perf_counter()

    def reset_peak(self) -> None:
        if self.module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.module.device)

    def peak(self) -> int:
        if self.module.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.module.device)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def shape_of(batch: Batch) -> tuple[int, int]:
    """Rows, and padded tokens of each; a multiple choice's choices count as tokens."""
    ids = batch["input_ids"]
    return len(ids), ids[0].numel()


def state_bytes(optimizer: Optimizer) -> int:
    values = [value for state in optimizer.state.values() for value in state.values()]
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))


def merged(trials: list[Trial]) -> Trial:
    """Of all ranks: a parameter is silent where no rank's rows reach it; a fault of any rank is the run's."""

    def first(name: str) -> str | None:
        return next((value for trial in trials if (value := getattr(trial, name)) is not None), None)

    return replace(
        trials[0],
        silent=tuple(name for name in trials[0].silent if all(name in trial.silent for trial in trials)),
        odd=tuple(dict.fromkeys(name for trial in trials for name in trial.odd)),
        refused=first("refused"),
        not_finite=first("not_finite"),
        out_of_memory=first("out_of_memory"),
        step_seconds=max(trial.step_seconds for trial in trials),
        evaluation_seconds=max(trial.evaluation_seconds for trial in trials),
        peak_memory_bytes=max(trial.peak_memory_bytes for trial in trials),
    )
