"""The peer of the alpaca task: TRL's SFTTrainer over tokens that finelab made."""

import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peers import Task
from peers_common import Meter, Recipe, Side
from peers_transformers import Clock, arguments
from peft import LoraConfig
from torch import nn
from transformers import AutoTokenizer
from transformers.utils.logging import set_verbosity_error
from trl.trainer.sft_config import SFTConfig  # pyright: ignore[reportMissingImports]
from trl.trainer.sft_trainer import SFTTrainer  # pyright: ignore[reportMissingImports]

from finelab.contracts.batch import IGNORE
from finelab.contracts.uri import resolve
from finelab.models.backbone import Loading, load


class TrlSide(Side):
    def __init__(self, task: Task, recipe: Recipe, scratch: Path) -> None:
        super().__init__(task, recipe, scratch)
        set_verbosity_error()
        assert task.tokens is not None
        self.tokenizer = AutoTokenizer.from_pretrained(resolve(task.base).path)
        self.rows: dict[str, list[dict[str, Any]]] = json.loads(Path(task.tokens).read_text())

    def train(self, meter: Meter, steps: int | None = None) -> tuple[int, int]:
        base = load(self.task.base, "causal_lm", Loading()).model
        settings = arguments(self.task, self.recipe, self.scratch, steps)
        settings |= {"gradient_checkpointing": False, "max_length": None, "seed": 1}
        self.trainer = SFTTrainer(
            base,
            SFTConfig(**settings, dataset_kwargs={"skip_prepare_dataset": True}),
            train_dataset=Dataset.from_list(self.rows["train"]),
            processing_class=self.tokenizer,
            peft_config=LoraConfig(**self.recipe.lora, task_type="CAUSAL_LM"),
            callbacks=[Clock(meter)],
        )
        model: Any = self.trainer.model
        supervised: list[int] = []

        def count(_: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
            meter.count(inputs["input_ids"])
            supervised.append(int((inputs["labels"][:, 1:] != IGNORE).sum()))

        hook = model.register_forward_pre_hook(count, with_kwargs=True)
        self.trainer.train()
        hook.remove()
        return len(self.rows["train"]) * self.task.epochs, sum(supervised)

    def trainable_parameters(self) -> int:
        return self.trainer.get_num_trainable_parameters()

    @torch.no_grad()
    def quality(self) -> float:
        """Over supervised tokens; the trainer's own is a mean over batches."""
        model: Any = self.trainer.model
        model.eval()
        nll, count = 0.0, 0
        for row in self.rows["validation"]:
            logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1]
            targets = torch.tensor(row["labels"][1:])
            nll += nn.functional.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum").item()
            count += int((targets != IGNORE).sum())
        return nll / count
