"""One short run without a stop, and the same run killed in its third step and gone on with in a new process's stead:
everything is built anew."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from finelab.callbacks.state_io import StateIO
from finelab.callbacks.training_state import TrainingState
from finelab.contracts.state_folder import latest_state
from finelab.data.ordered_loader import OrderedLoader
from finelab.data.sampler import GlobalBatchSampler, GlobalOrder
from finelab.models import FineTuner

ADAM = functools.partial(torch.optim.AdamW, lr=1e-2)
STEPS, STOP = 4, 2


class Killed(Exception):
    pass


class Kill(L.Callback):
    """In the middle of a step, after its gradients are there."""

    def on_before_optimizer_step(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.global_step == STOP:
            raise Killed


@dataclass(frozen=True)
class Left:
    """What a run left: losses of its steps, trainable weights, optimizer state, and the default generator's."""

    losses: list[float]
    weights: dict[str, Tensor]
    moments: list[Tensor]
    generator: Tensor

    def require_same(self, other: "Left") -> None:
        assert self.losses[-len(other.losses) :] == other.losses and len(other.losses) == STEPS - STOP
        assert self.weights.keys() == other.weights.keys()
        assert [name for name, x in self.weights.items() if not same(x, other.weights[name])] == []
        assert len(self.moments) == len(other.moments) > 0
        assert all(same(*pair) for pair in zip(self.moments, other.moments, strict=True))
        assert same(self.generator, other.generator)


def same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.nan_to_num(), other.nan_to_num())


class Losses(L.Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        self.seen.append(trainer.callback_metrics["train/loss"].item())


class Rows(L.LightningDataModule):
    """The rows of a plain loader in shuffled batches of two, so that four steps are an epoch of eight."""

    def __init__(self, plain: DataLoader) -> None:
        super().__init__()
        self.plain = plain

    def train_dataloader(self) -> OrderedLoader:
        dataset: Any = self.plain.dataset
        sampler = GlobalBatchSampler(GlobalOrder(np.ones(len(dataset), np.int64), 2, seed=3, bucketing=False))
        return OrderedLoader(dataset, sampler, self.trainer, collate_fn=self.plain.collate_fn)

    def evaluation_loader(self, split: str) -> DataLoader | None:
        return self.plain if split == "train" else None


class PlainSave(L.Callback):
    """``trainer.save_checkpoint`` at the end of a step, before most other callbacks have seen that end."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.global_step == STOP:
            trainer.save_checkpoint(self.target)


def train(
    module: FineTuner,
    plain: DataLoader,
    run: Path,
    *extra: L.Callback,
    state: Path | None = None,
    own: bool = True,
    precision: Any = "32-true",
) -> Left:
    """Args:
    extra: further callbacks.
    state: to go on from.
    own: save training states as a run of the command line does.
    precision: of the trainer.
    """
    losses, quiet = Losses(), dict.fromkeys(["logger", "enable_progress_bar", "enable_model_summary"], False)
    trainer = L.Trainer(
        max_steps=STEPS,
        max_epochs=-1,
        accelerator="cpu",
        precision=precision,
        enable_checkpointing=False,
        callbacks=[*([TrainingState(run, None, STOP)] if own else []), losses, *extra],
        plugins=[StateIO()],
        **quiet,
    )
    torch.manual_seed(5)
    trainer.fit(module, datamodule=Rows(plain), ckpt_path=state)
    kept = trainer.optimizers[0].state
    moments = [torch.as_tensor(x) for p in module.parameters() for _, x in sorted(kept.get(p, {}).items())]
    return Left(losses.seen, module.trainable_state(), moments, torch.get_rng_state())


def killed(module: FineTuner, plain: DataLoader, run: Path, **options: Any) -> Path:
    """The training state that a run leaves that is killed in its third step."""
    try:
        train(module, plain, run, Kill(), **options)
    except Killed:
        state = latest_state(run)
        assert state is not None and state.name == f"state-{STOP:08d}"
        return state
    raise AssertionError("it was not killed")


def require_exact_resume(
    make: Callable[[], FineTuner], plain: Callable[[], DataLoader], run: Path, **options: Any
) -> None:
    """The weights, the optimizer's state, the losses and the generator of both runs are the same to the bit.

    Args:
        make: the module, anew.
        plain: its rows.
        run: an empty folder.
        options: of ``train``.
    """
    whole = train(make(), plain(), run / "whole", **options)
    state = killed(make(), plain(), run / "broken", **options)
    whole.require_same(train(make(), plain(), run / "broken", state=state, **options))


def require_exact_plain_resume(make: Callable[[], FineTuner], plain: Callable[[], DataLoader], run: Path) -> None:
    """The same from Lightning's own ``save_checkpoint`` and ``ckpt_path``, without any callback of finelab."""
    whole = train(make(), plain(), run, PlainSave(run / "saved"), own=False)
    whole.require_same(train(make(), plain(), run, state=run / "saved", own=False))
