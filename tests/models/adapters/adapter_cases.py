"""What a row of docs/adapters.md is, and the three tiny tasks that it runs on.

To add an adapter, add a ``Case`` to the list ``CASES`` of a file ``*_cases.py`` of this folder: ``peft_cases.py`` holds
PEFT's injected tuners, ``prompt_cases.py`` its prompt tuners, ``own_cases.py`` finelab's own. Then run
``python docs/adapters_table.py``. Tests that hold for every adapter are parametrized over ``every_case()``.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch import Callback
from peft import PeftConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader

from finelab.contracts.batch import IGNORE, Batch
from finelab.data.collate import PadCollator
from finelab.models import CausalLM, FineTuner, Seq2SeqLM, SequenceClassifier
from finelab.models.adapters.adapter import Adapter
from finelab.models.backbone import Kind, Loading, load

SPECIAL = [1, 2, 3]
"""Every row starts with these tokens, so that methods which act on chosen tokens find some."""


@dataclass(frozen=True)
class Task:
    """One tiny base with one target, and the names of its layers.

    Args:
        attention, feedforward: linear layers that methods are put on; down: the one that leaves the feed-forward.
        norms: its norms, as ``target_modules`` may name them.
    """

    name: str
    base: str
    target: Callable[..., FineTuner]
    attention: list[str]
    feedforward: list[str]
    down: str
    norms: list[str]

    @property
    def linear(self) -> list[str]:
        return self.attention + self.feedforward

    def module(self, adapter: Adapter | PeftConfig, **options) -> FineTuner:
        optimizer = functools.partial(torch.optim.AdamW, lr=1e-2)
        return self.target(self.base, adapter, optimizer, **options)

    def loader(self, rows: int = 8) -> DataLoader:
        random = np.random.default_rng(7)
        samples = [self.sample(i, random) for i in range(rows)]
        return DataLoader(samples, 4, collate_fn=PadCollator(0), generator=torch.Generator().manual_seed(0))  # pyright: ignore

    def sample(self, number: int, random: np.random.Generator) -> dict:
        ids = np.concatenate([SPECIAL, random.integers(4, 256, int(random.integers(4, 9)))])
        labels = {
            "causal LM": np.where(np.arange(len(ids)) < 3, IGNORE, ids),
            "classification": number % 3,
            "seq2seq": random.integers(4, 256, 5),
        }[self.name]
        return {"sample_id": number, "source_id": 0, "input_ids": ids, "labels": labels}

    def backbone(self) -> nn.Module:
        """The untouched base, in eval mode."""
        kinds: dict[str, Kind] = {"causal LM": "causal_lm", "classification": "encoder", "seq2seq": "seq2seq"}
        return load(self.base, kinds[self.name], Loading()).model.eval()


TASKS = {
    task.name: task
    for task in (
        Task(
            "causal LM",
            "tiny://llama",
            CausalLM,
            ["q_proj", "v_proj"],
            ["up_proj"],
            "down_proj",
            ["input_layernorm", "post_attention_layernorm"],
        ),
        Task(
            "classification",
            "tiny://bert",
            functools.partial(SequenceClassifier, labels=["a", "b", "c"]),
            ["query", "value"],
            ["intermediate.dense"],
            "output.dense",
            ["LayerNorm"],
        ),
        Task("seq2seq", "tiny://t5", Seq2SeqLM, ["q", "v"], ["wi"], "wo", ["layer_norm"]),
    )
}


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        name: of the row.
        config: the adapter for a task, as a user would write it.
        paper: arXiv id or link.
        refused: task -> words that its refusal must hold; one that is missing here must train.
        unmerged: task -> words of the refusal to merge into its base, where the adapter merges into others.
        without_gradient: part of a parameter's name -> why it gets no gradient within two steps.
        starts_as_base: whether step 0 computes the base's function.
        trains_backbone: or a new head alone.
        decays_to_base: whether weight decay pulls to the base's function or leaves it alone; where weights of the base
            train in place, it pulls to zero.
        forward: what plain PEFT must be given besides a batch of four rows.
        tasks: the ones to run it on.
    """

    name: str
    config: Callable[[Task], Adapter | PeftConfig]
    paper: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    unmerged: Mapping[str, str] = field(default_factory=dict)
    without_gradient: Mapping[str, str] = field(default_factory=dict)
    starts_as_base: bool = True
    trains_backbone: bool = True
    decays_to_base: bool = True
    forward: Mapping[str, Tensor] = field(default_factory=dict)
    tasks: tuple[str, ...] = tuple(TASKS)


def every_case() -> list[Case]:
    """Of all files of this folder, in the order of the files' names."""
    files = sorted(Path(__file__).parent.glob("*_cases.py"))
    modules = [import_module(f".{file.stem}", __package__) for file in files if file.stem != Path(__file__).stem]
    return [case for module in modules for case in module.CASES]


class Gradients(Callback):
    """Which parameters have had a non-zero gradient, and that all were finite."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        for name, p in pl_module.named_parameters():
            if p.grad is not None:
                assert torch.isfinite(p.grad).all(), name
                if p.grad.any():
                    self.seen.add(name)


def trained(task: Task, module: FineTuner, steps: int = 2, **options) -> Gradients:
    """Train in place for a few steps of four rows, as ``finelab fit`` would."""
    gradients = Gradients()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "accelerator": "cpu", "max_epochs": -1}
    trainer = L.Trainer(max_steps=steps, callbacks=[gradients], **(quiet | options))
    trainer.fit(module, task.loader())
    return gradients


def outputs(task: Task, model: nn.Module, virtual_tokens: int = 0, **more: Tensor) -> Tensor:
    """Logits of a language model and hidden states of an encoder, adapted or not, at the tokens of four rows."""
    batch: Batch = next(iter(task.loader()))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    if task.name == "seq2seq":
        inputs["decoder_input_ids"] = batch["labels"]
    mode = model.training
    with torch.no_grad():
        found = model.eval()(**inputs, **more)
    model.train(mode)
    if task.name == "seq2seq":
        return found.logits
    whole = found.logits if "logits" in found else found.last_hidden_state
    return whole[:, virtual_tokens:][batch["attention_mask"].bool()]
