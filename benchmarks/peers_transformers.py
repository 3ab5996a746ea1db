"""The peer: Hugging Face's Trainer over a PEFT model."""

from pathlib import Path
from typing import Any

import numpy as np
from peers import Task
from peers_common import CLIP, Meter, Recipe, Side, read
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.utils.logging import set_verbosity_error

from finelab.contracts.uri import resolve
from finelab.models.backbone import Loading, load


class PeerClassifier(nn.Module):
    """What ``finelab.models.SequenceClassifier`` computes, in the form that Hugging Face's Trainer wants."""

    def __init__(self, backbone: nn.Module, width: int, classes: int, meter: Meter) -> None:
        super().__init__()
        self.backbone, self.meter = backbone, meter
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(width, classes))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Tokens and mask [B, T], labels [B], to the loss and logits [B, C]."""
        if self.training:
            self.meter.count(input_ids)
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.to(hidden.dtype).unsqueeze(-1)
        logits = self.head((hidden * weights).sum(1) / weights.sum(1))
        return {"loss": nn.functional.cross_entropy(logits.float(), labels), "logits": logits}


def arguments(task: Task, recipe: Recipe, scratch: Path, steps: int | None) -> dict[str, Any]:
    """Of Hugging Face's Trainer and its kin, at their best."""
    return {
        "output_dir": str(scratch / "peer"),
        "max_steps": steps or -1,
        "num_train_epochs": task.epochs,
        "per_device_train_batch_size": recipe.batch_size,
        "learning_rate": recipe.optimizer["lr"],
        "weight_decay": recipe.optimizer["weight_decay"],
        "max_grad_norm": CLIP,
        "lr_scheduler_type": "linear",
        "warmup_steps": recipe.warmup,  # under 1 it is a share of all steps
        "bf16": recipe.precision == "bf16-mixed",
        "use_cpu": True,
        "train_sampling_strategy": "group_by_length",
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "logging_steps": 100,
        "report_to": "none",
        "disable_tqdm": True,
        "eval_strategy": "no",
        "save_strategy": "no",
    }


class Clock(TrainerCallback):
    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.meter.start()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.meter.stop()


class TransformersSide(Side):
    def __init__(self, task: Task, recipe: Recipe, scratch: Path) -> None:
        super().__init__(task, recipe, scratch)
        set_verbosity_error()
        self.tokenizer = AutoTokenizer.from_pretrained(resolve(task.base).path)
        self.rows = {split: self.encoded(split) for split in ("train", "validation")}
        self.classes = len({row["labels"] for row in self.rows["train"]})

    def encoded(self, split: str) -> list[dict[str, Any]]:
        rows = read(self.task, split)
        texts = [row["text"] for row in rows]
        tokens = self.tokenizer(texts, truncation=True, max_length=self.recipe.context, return_token_type_ids=False)
        return [
            {"input_ids": ids, "attention_mask": mask, "labels": row["label"]}
            for ids, mask, row in zip(tokens["input_ids"], tokens["attention_mask"], rows, strict=True)
        ]

    def train(self, meter: Meter, steps: int | None = None) -> tuple[int, int]:
        set_seed(1)
        base = load(self.task.base, "encoder", Loading()).model
        width = base.config.hidden_size
        adapted = get_peft_model(base, LoraConfig(**self.recipe.lora))
        self.trainer = Trainer(
            PeerClassifier(adapted, width, self.classes, meter),
            TrainingArguments(**arguments(task=self.task, recipe=self.recipe, scratch=self.scratch, steps=steps)),
            DataCollatorWithPadding(self.tokenizer),
            self.rows["train"],  # pyright: ignore[reportArgumentType] - a list is a data set to torch
            self.rows["validation"],  # pyright: ignore[reportArgumentType]
            compute_metrics=share_right,
            callbacks=[Clock(meter)],
        )
        self.trainer.train()
        examples = len(self.rows["train"]) * self.task.epochs
        return examples, examples  # one label a row

    def trainable_parameters(self) -> int:
        return self.trainer.get_num_trainable_parameters()

    def quality(self) -> float:
        return float(self.trainer.evaluate()["eval_accuracy"])


def share_right(found: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float(np.mean(np.argmax(found.predictions, -1) == found.label_ids))}
