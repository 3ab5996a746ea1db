"""One rank of two: LoRA, L2-SP and KL to the base under DDP and under FSDP2, in one pair of processes."""

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from peft import LoraConfig
from torch import Tensor
from torch.distributed.tensor import DTensor

from finelab.callbacks.best_checkpoint import BestCheckpoint
from finelab.callbacks.forgetting import Forgetting
from finelab.callbacks.movement import Movement
from finelab.callbacks.order_digest import OrderDigest
from finelab.contracts.errors import UserError
from finelab.models import CausalLM, SequenceClassifier
from finelab.models.adapters import Full
from finelab.models.backbone import Loading
from finelab.models.finetuner import FineTuner
from finelab.models.regularizers import L2SP, SAM, KLToBase, LabelSmoothing
from finelab.models.sharding import whole

from .pairing import data
from .two_ranks import as_rank, main_of

ADAMW = functools.partial(torch.optim.AdamW, lr=3e-3, weight_decay=0.1)
STRATEGIES = ("ddp", "fsdp")


def lora(**options) -> LoraConfig:
    return LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", **options)


def llm(adapter, *methods, **options) -> FineTuner:
    return CausalLM("tiny://llama", adapter, ADAMW, list(methods), **options)


def head(adapter, *methods) -> FineTuner:
    """On a base without dropout, since each rank draws masks of its own."""
    return SequenceClassifier("tiny://llama", adapter, ADAMW, list(methods), labels=["no", "yes"], head_dropout=0.0)


CASES = {
    "lora-l2sp-kl": (lambda: llm(lora(), L2SP(0.3), KLToBase(0.5)), {}),
    "lora-l2sp-kl-clipped": (lambda: llm(lora(), L2SP(0.3), KLToBase(0.5)), {"gradient_clip_val": 0.2}),
    "lora-l2sp-kl-checkpointed": (
        lambda: llm(lora(), L2SP(0.3), KLToBase(0.5), loading=Loading(gradient_checkpointing=True)),
        {},
    ),
    "full-l2sp-kl": (lambda: llm(Full(), L2SP(0.3), KLToBase(0.5, "reverse")), {"gradient_clip_val": 0.2}),
    "lora-head": (lambda: head(lora(), L2SP(0.3), LabelSmoothing(0.1)), {"gradient_clip_val": 0.2}),
}


class Found(NamedTuple):
    """What one run left: trained weights by name, what each step logged, the order, and the best weights' files."""

    weights: dict[str, Tensor]
    logged: list[dict[str, float]]
    digest: str
    sharded: bool


class Logged(L.Callback):
    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if (batch_idx + 1) % 2 == 0:
            self.steps.append({name: x.item() for name, x in trainer.callback_metrics.items()})


def train(case: str, files: dict[str, str], folder: Path, batch_size: int, **options: Any) -> Found:
    """Two epochs of rows in global batches of 4, two micro-batches a step, a validation in each."""
    make, settings = CASES[case]
    module, order, logged, best = make(), OrderDigest(), Logged(), BestCheckpoint(folder)
    fixed = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    fixed |= {"use_distributed_sampler": False, "max_epochs": 2, "num_sanity_val_steps": 0}
    callbacks = [Movement(), Forgetting(rows=3, final_rows=5), order, logged, best]
    trainer = L.Trainer(**fixed | settings | options, accumulate_grad_batches=2, callbacks=callbacks)
    task = "class" if case.endswith("head") else "lm"
    own = data(files, task, batch_size=batch_size)
    own.base = "tiny://llama"
    trainer.fit(module, datamodule=own)
    trained = [p for p in module.parameters() if p.requires_grad]
    sharded = bool(trained) and all(isinstance(p, DTensor) for p in trained)
    with whole(module):
        weights = {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}
    assert order.digest is not None
    return Found(weights, logged.steps, order.digest, sharded)


def strategy(name: str) -> Any:
    return "ddp" if name == "ddp" else ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)


def refusals(files: dict[str, str], folder: Path) -> dict[str, str]:
    """What this strategy refuses, and its words."""
    built = llm(lora())
    built.configure_model()
    cases = {
        "tensor parallel": (llm(lora()), ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=2)),
        "method": (llm(lora(), SAM(0.1)), strategy("fsdp")),
        "adapter": (llm(lora(use_dora=True)), strategy("fsdp")),
        "built before": (built, strategy("fsdp")),
    }
    found = {}
    for name, (module, own) in cases.items():
        fixed = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = L.Trainer(**fixed, use_distributed_sampler=False, max_steps=1, devices=2, strategy=own)
        try:
            trainer.fit(module, datamodule=data(files, "lm", batch_size=2))
        except UserError as error:
            found[name] = str(error)
    return found


def rank(number: int, port: int, folder: str) -> None:
    as_rank(number, port)
    place = Path(folder)
    files, cases = json.loads((place / "asked.json").read_text())
    found = {}
    for name in STRATEGIES:
        for case in cases:
            options = {"devices": 2, "strategy": strategy(name)}
            found[name, case] = train(case, files, place / f"{name}-{case}", 2, **options)._asdict()
    torch.save({"runs": found, "refusals": refusals(files, place)}, place / f"{number}.pt")


def main(folder: str) -> None:
    main_of(rank, folder)
