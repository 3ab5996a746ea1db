"""The side of finelab: what ``finelab fit -c configs/sst2_lora.yaml`` trains, without a command line."""

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
from finelab.data import Classification, TextDataModule
from finelab.models import SequenceClassifier, WarmupLinear
from finelab.scripts.logger import RunLogger

TRAINER: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "precision": "bf16-mixed",
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
        source = {split: str(file) for split, file in split_files(task).items()}
        if task.rows is not None:
            source["train"] = str(scratch / "train.jsonl")
            Path(source["train"]).write_text("".join(json.dumps(row) + "\n" for row in read(task, "train")))
        self.data = TextDataModule(
            source, Classification(), task.base, recipe.context, recipe.batch_size, cache_dir=str(scratch / "tokens")
        )

    def train(self, meter: Meter, steps: int | None = None) -> int:
        assert self.data.label_names is not None
        self.module = SequenceClassifier(
            self.task.base,
            LoraConfig(**self.recipe.lora),
            partial(torch.optim.AdamW, **self.recipe.optimizer),
            schedule=WarmupLinear(self.recipe.warmup),
            labels=self.data.label_names,
        )
        trainer = L.Trainer(
            **TRAINER,
            max_steps=steps or -1,
            max_epochs=None if steps else self.task.epochs,
            gradient_clip_val=CLIP,
            log_every_n_steps=10,
            limit_val_batches=0,
            logger=RunLogger(self.scratch / f"run-{steps}"),
            callbacks=[Throughput(), OrderDigest(), History(), Clock(meter)],
        )
        trainer.fit(self.module, self.data)
        return self.module.supervised_tokens

    def trainable_parameters(self) -> int:
        return self.module.parameter_counts()[0]

    def accuracy(self) -> float:
        return L.Trainer(**TRAINER, logger=False).validate(self.module, self.data, verbose=False)[0]["val/accuracy"]
