"""The side of finelab: what ``finelab fit`` trains, without a command line."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from peers import Task
from peers_common import CLIP, Meter, Recipe, Side, read, split_files
from peft import LoraConfig
from torch import Tensor

from finelab.callbacks.history import History
from finelab.callbacks.order_digest import OrderDigest
from finelab.callbacks.throughput import Throughput
from finelab.data import Classification, Instruction, TextDataModule
from finelab.models import CausalLM, SequenceClassifier, WarmupLinear
from finelab.models.finetuner import FineTuner
from finelab.scripts.logger import RunLogger

TRAINER: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "use_distributed_sampler": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


class Clock(L.Callback):
    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.meter.start()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.meter.count(batch["input_ids"])

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.meter.stop()


class FinelabSide(Side):
    def __init__(self, task: Task, recipe: Recipe, scratch: Path) -> None:
        super().__init__(task, recipe, scratch)
        self.data = data_of(task, recipe, scratch)
        self.trainer: dict[str, Any] = TRAINER | {"precision": recipe.precision}

    def model(self) -> FineTuner:
        lora, optimizer = LoraConfig(**self.recipe.lora), partial(torch.optim.AdamW, **self.recipe.optimizer)
        schedule = WarmupLinear(self.recipe.warmup)
        if self.task.name == "alpaca":
            return CausalLM(self.task.base, lora, optimizer, schedule=schedule)
        assert self.data.label_names is not None
        return SequenceClassifier(self.task.base, lora, optimizer, schedule=schedule, labels=self.data.label_names)

    def train(self, meter: Meter, steps: int | None = None) -> tuple[int, int]:
        self.module = self.model()
        trainer = L.Trainer(
            **self.trainer,
            max_steps=steps or -1,
            max_epochs=None if steps else self.task.epochs,
            gradient_clip_val=CLIP,
            log_every_n_steps=10,
            limit_val_batches=0,
            logger=RunLogger(self.scratch / f"run-{steps}"),
            callbacks=[throughput := Throughput(), OrderDigest(), History(), Clock(meter)],
        )
        trainer.fit(self.module, self.data)
        return throughput.examples, self.module.supervised_tokens

    def trainable_parameters(self) -> int:
        return self.module.parameter_counts()[0]

    def quality(self) -> float:
        found = L.Trainer(**self.trainer, logger=False).validate(self.module, self.data, verbose=False)[0]
        return found["val/nll" if self.task.name == "alpaca" else "val/accuracy"]


def data_of(task: Task, recipe: Recipe, scratch: Path) -> TextDataModule:
    source = {split: str(file) for split, file in split_files(task).items()}
    if task.rows is not None:
        source["train"] = str(scratch / "train.jsonl")
        Path(source["train"]).write_text("".join(json.dumps(row) + "\n" for row in read(task, "train")))
    # An answer beyond the context would be cut differently by everybody; such rows are left out.
    template = Instruction(too_long="drop") if task.name == "alpaca" else Classification()
    return TextDataModule(
        source, template, task.base, recipe.context, recipe.batch_size, cache_dir=str(scratch / "tokens")
    )


def write_tokens(task: Task, recipe: Recipe, scratch: Path) -> None:
    """The tokens and labels of every row, for a peer that is to learn exactly them."""
    assert task.tokens is not None
    data = data_of(task, recipe, scratch)
    found: dict[str, list[dict[str, list[int]]]] = {}
    for split in ("train", "validation"):
        loader = data.evaluation_loader(split)
        assert loader is not None
        found[split] = [
            {"input_ids": ids[mask == 1].tolist(), "labels": labels[mask == 1].tolist()}
            for batch in loader
            for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True)
        ]
    Path(task.tokens).write_text(json.dumps(found))
