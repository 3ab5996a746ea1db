"""What both sides of ``peers.py`` share: the recipe, the rows, the clock, and what a side is."""

import gc
import gzip
import json
import resource
import sys
import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
import yaml
from peers import Task
from torch import Tensor

CLIP = 1.0


@dataclass(frozen=True)
class Recipe:
    """What both sides train."""

    lora: dict[str, Any]
    optimizer: dict[str, Any]
    warmup: float
    context: int
    batch_size: int
    precision: Literal["bf16-mixed", "32-true"]

    @classmethod
    def of(cls, task: Task) -> "Recipe":
        return cls.sst2() if task.name == "sst2" else cls.alpaca()

    @classmethod
    def alpaca(cls) -> "Recipe":
        return cls(
            lora={"r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": "all-linear"},
            optimizer={"lr": 1.0e-3, "weight_decay": 0.01, "fused": True},
            warmup=0.06,
            context=256,
            batch_size=16,
            precision="32-true",
        )

    @classmethod
    def sst2(cls) -> "Recipe":
        """From the configuration that finelab ships."""
        config = yaml.safe_load((files("finelab.configs") / "sst2_lora.yaml").read_text())
        model, data = config["model"]["init_args"], config["data"]["init_args"]
        return cls(
            lora=model["adapter"]["init_args"],
            optimizer=model["optimizer"]["init_args"],
            warmup=model["schedule"]["init_args"]["warmup"],
            context=data["context"],
            batch_size=data["batch_size"],
            precision="bf16-mixed",
        )


class Meter:
    """Wall-clock, processor time, memory and padded tokens of the training loop."""

    def __init__(self, profiler: AbstractContextManager | None = None) -> None:
        self.profiler = profiler or nullcontext()
        self.seconds = self.cpu_seconds = 0.0
        self.resident = self.padded_tokens = self.steps = 0

    def start(self) -> None:
        gc.collect()
        self.resident = psutil.Process().memory_info().rss
        self.seconds, self.cpu_seconds = -time.perf_counter(), -time.process_time()
        self.profiler.__enter__()

    def stop(self) -> None:
        self.profiler.__exit__(None, None, None)
        self.seconds += time.perf_counter()
        self.cpu_seconds += time.process_time()

    def count(self, input_ids: Tensor) -> None:
        """Of each batch, [B, T]."""
        self.steps += 1
        self.padded_tokens += input_ids.numel()

    def result(self, examples: int, supervised: int) -> dict[str, Any]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return {
            "examples": examples,
            "steps": self.steps,
            "padded_tokens": self.padded_tokens,
            "train_seconds": self.seconds,
            "examples_per_second": examples / self.seconds,
            "examples_per_cpu_second": examples / self.cpu_seconds,
            "supervised_tokens": supervised,
            "supervised_tokens_per_second": supervised / self.seconds,
            "supervised_tokens_per_cpu_second": supervised / self.cpu_seconds,
            "peak_mib": peak / 2**20,
            "growth_mib": (peak - self.resident) / 2**20,
            "threads": torch.get_num_threads(),
        }


class Side(ABC):
    """One of the two.

    Args:
        task: what to train on.
        recipe: how.
        scratch: an empty folder that is thrown away.
    """

    def __init__(self, task: Task, recipe: Recipe, scratch: Path) -> None:
        self.task, self.recipe, self.scratch = task, recipe, scratch

    @abstractmethod
    def train(self, meter: Meter, steps: int | None = None) -> tuple[int, int]:
        """Train a new model for some steps, or over all of the task; returns examples and supervised tokens of all."""

    @abstractmethod
    def quality(self) -> float:
        """Of the model trained last, on the validation rows: accuracy, or nats a supervised token."""

    @abstractmethod
    def trainable_parameters(self) -> int:
        """Of the model trained last: both sides train the same."""


def split_files(task: Task) -> dict[str, Path]:
    return {split: next(Path(task.data).glob(f"{split}.jsonl*")) for split in ("train", "validation", "test")}


def read(task: Task, split: str) -> list[dict[str, Any]]:
    file = split_files(task)[split]
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
        rows = islice(lines, task.rows if split == "train" else None)
        return [json.loads(line) for line in rows]
