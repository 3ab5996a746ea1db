"""Arms of a comparison on real loaders: what each run says of its order, its dropout masks and its start."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from peft import IA3Config, LoraConfig

from finelab.callbacks.order_digest import OrderDigest
from finelab.contracts.order_trail import OrderTrail
from finelab.contracts.seeds import Seeds
from finelab.data import Classification, Documents, TextDataModule
from finelab.data.loader_options import LoaderOptions
from finelab.models import CausalLM, SequenceClassifier
from finelab.models.adapters import Full
from finelab.models.regularizers.regularizer import Regularizer

from .regularizer_runs import Masks

WORDS = ["red", "green", "blue", "old", "new", "small", "large", "round", "wet", "dry"]
LLAMA = {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
BERT = {"target_modules": ["key", "value", "output.dense"], "feedforward_modules": ["output.dense"]}


def lora(rank: int, dropout: float) -> Callable[[], LoraConfig]:
    return functools.partial(LoraConfig, r=rank, target_modules="all-linear", lora_dropout=dropout)


def arms(task: str) -> dict[str, Callable[[], Any]]:
    """The four of the issue; the decoder has no dropout but LoRA's, the encoder has one that all arms share."""
    dropout = 0.1 if task == "lm" else 0.0
    ia3 = functools.partial(IA3Config, **(LLAMA if task == "lm" else BERT))
    return {"lora-r4": lora(4, dropout), "lora-r8": lora(8, dropout), "full": Full, "ia3": ia3}


def write_rows(folder: Path) -> dict[str, str]:
    files = {}
    for split, start, count in (("train", 0, 22), ("validation", 22, 6)):
        file = folder / f"{split}.jsonl"
        texts = [" ".join(WORDS[(7 * n + k) % 10] for k in range(2 + 5 * n % 9)) for n in range(start, start + count)]
        rows = [
            {"text": f"{text} {n}", "label": n % 2, "label_text": ["no", "yes"][n % 2]} for n, text in enumerate(texts)
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        files[split] = str(file)
    return files


def data(files, task: str, workers: int = 0, seed: int = 1, batch_size: int = 4) -> TextDataModule:
    template, base = (
        (Documents(), "tiny://llama") if task == "lm" else (Classification(names=["no", "yes"]), "tiny://bert")
    )
    cache = str(Path(files["train"]).parent / "tokens")
    options = {"loader": LoaderOptions(num_workers=workers), "seed": seed, "batch_size": batch_size}
    return TextDataModule(files, template, base, 24, cache_dir=cache, **options)


class Beside(L.Callback):
    """A probe as a user may write one: in the middle of training it reads loaders, seeds, and runs forwards."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        rng = torch.get_rng_state()
        list(trainer.datamodule.evaluation_loader("train"))
        assert torch.equal(torch.get_rng_state(), rng), "a loader drew"
        torch.manual_seed(batch_idx)
        with torch.no_grad():
            module.score(batch)


class Leave(L.Callback):
    """Ranks are processes of their own: the first one leaves its order digest in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_train_end(self, trainer, module) -> None:
        (order,) = (own for own in trainer.callbacks if isinstance(own, OrderDigest))
        if trainer.is_global_zero:
            self.file.write_text(order.digest)


class Seen(NamedTuple):
    """What a run left: its order, its dropout masks, and the trainable weights of its start."""

    trail: OrderTrail
    digest: str
    masks: Masks
    start: dict[str, torch.Tensor]


def train(
    task: str,
    adapter,
    files,
    regularizers: Sequence[Regularizer] = (),
    workers: int = 0,
    callbacks: Sequence[L.Callback] = (),
    seeds: Seeds = Seeds(),  # noqa: B008 - frozen
    batch_size: int = 4,
    **options,
) -> Seen:
    sgd = functools.partial(torch.optim.SGD, lr=0.01)
    made = {"regularizers": list(regularizers), "seeds": seeds}
    module = (
        CausalLM("tiny://llama", adapter, sgd, **made)
        if task == "lm"
        else SequenceClassifier("tiny://bert", adapter, sgd, labels=["no", "yes"], **made)
    )
    masks, order = Masks(module), OrderDigest()
    start = module.trainable_state()
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    settings |= {"enable_model_summary": False, "use_distributed_sampler": False, "max_epochs": 1}
    settings |= {"num_sanity_val_steps": 0, "accumulate_grad_batches": 2}
    trainer = L.Trainer(**settings | options, callbacks=[order, *callbacks])
    trainer.fit(module, datamodule=data(files, task, workers, seeds.data, batch_size))
    assert order.digest is not None or trainer.world_size > 1, "ranks are processes of their own"
    return Seen(order.trail or OrderTrail(), order.digest or "", masks, start)


def same_order(one: Seen, two: Seen) -> bool:
    return one.digest == two.digest and one.trail.parting(two.trail) is None


def same_masks(one: Seen, two: Seen) -> bool:
    """Whether every forward of ``one`` happened in ``two``, with its masks."""
    found: dict[int, list[torch.Tensor]] = dict(two.masks.visits)
    return all(
        seed in found and len(found[seed]) == len(masks) and all(map(torch.equal, masks, found[seed]))
        for seed, masks in one.masks.visits
    )


def has_dropout(seen: Seen) -> bool:
    return any(mask.any() for _, masks in seen.masks.visits for mask in masks)
