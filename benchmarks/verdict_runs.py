"""Real runs for the verdict's error rates: what each example's loss was at every evaluation, kept in a file a run.

    python benchmarks/verdict_runs.py DIR --part dev               # restartable: a file that is there is not made again
    python benchmarks/verdict_runs.py DIR --part report --only tales-,probe-

Every run is finelab's own step (FineTuner under Lightning's Trainer). A recorder beside it scores, at equal distances,
the training rows, validation and a large untouched set, in eval mode and without a draw. Linear probes train on the
features of the frozen base in eval mode, computed once (the tests show that this is finelab's LinearProbe
without dropout). DIR must lie outside the repository: rows of the data sets are not kept, losses of rows are.
"""

import argparse
import functools
import gc
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import lightning as L
import numpy as np
import torch
from peft import LoraConfig
from torch.utils.data import DataLoader
from verdict_recipes import MINILM, STORIES, Recipe, Sample, plan, rows_of

from finelab.callbacks.evaluation import undisturbed
from finelab.callbacks.frozen_feature_probe import FrozenFeatureProbe
from finelab.contracts.batch import Batch
from finelab.data.collate import PadCollator
from finelab.models import CausalLM, SequenceClassifier, WarmupCosine, WarmupLinear
from finelab.models.adapters import Full, LinearProbe
from finelab.models.regularizers import L2SP
from finelab.models.schedule import Schedule
from finelab.models.token_columns import by_row
from finelab.models.warmup_constant import WarmupConstant

SETS = ("train", "validation", "large")
Cache: TypeAlias = "dict[tuple[int, ...], torch.Tensor]"
"""Token ids of a row -> its pooled features."""

EVALUATED = 64
"""Rows of an evaluation batch."""


class CachedFeatures(SequenceClassifier):
    """A classifier whose frozen features come with the batch."""

    def features(self, batch: Batch) -> torch.Tensor:
        return batch["features"]


class Recorder(L.Callback):
    """The loss of every row of some sets, before the first step and at some optimizer steps.

    Args:
        sets: name -> loader.
        at: optimizer steps after which the sets are scored.
    """

    def __init__(self, sets: dict[str, Iterable[Batch]], at: list[int]) -> None:
        self.sets, self.at = sets, set(at)
        self.scores: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in sets}
        self.steps: list[int] = []
        self.travelled: list[float] = []
        self.distance = 0.0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.record(trainer, pl_module)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.distance += trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step in self.at:
            self.record(trainer, pl_module)

    def record(self, trainer: Any, module: Any) -> None:
        self.steps.append(trainer.global_step)
        self.travelled.append(self.distance)
        for name, loader in self.sets.items():
            nll: dict[int, float] = {}
            right: dict[int, float] = {}
            with undisturbed(module), trainer.precision_plugin.forward_context():
                for batch in loader:
                    scored = module.score(batch)
                    count = len(batch["sample_id"])
                    hits = (scored.logits.argmax(-1) == scored.targets).float()
                    ids = batch["sample_id"].tolist()
                    nll |= zip(ids, by_row(scored.nll, scored.rows, count).tolist(), strict=True)
                    right |= zip(ids, by_row(hits, scored.rows, count).tolist(), strict=True)
            order = range(len(nll))
            self.scores[name].append((np.array([nll[i] for i in order]), np.array([right[i] for i in order])))


def loader_of(samples: list[Sample], size: int, seed: int | None, drop: tuple[str, ...] = ("group",)) -> Any:
    """In a shuffled order with a seed, else as they are; the longest first, so that batches hold few pads."""
    rows = [{key: value for key, value in sample.items() if key not in drop} for sample in samples]
    if seed is None:
        rows = sorted(rows, key=lambda row: -len(row["input_ids"]))
        return list(DataLoader(rows, size, collate_fn=Collator(), generator=torch.Generator()))  # pyright: ignore[reportArgumentType]
    own = torch.Generator().manual_seed(seed)
    return DataLoader(rows, size, shuffle=True, generator=own, collate_fn=Collator())  # pyright: ignore[reportArgumentType]


class Collator(PadCollator):
    """Rows with a vector of features each, or without."""

    def __init__(self) -> None:
        super().__init__(0)

    def __call__(self, samples: Any) -> Batch:
        rows = [{key: value for key, value in sample.items() if key != "features"} for sample in samples]
        batch = super().__call__(rows)
        if "features" in samples[0]:
            batch["features"] = torch.stack([sample["features"] for sample in samples])
        return batch


def module_of(recipe: Recipe, shared: Path, labels: list[str]) -> Any:
    optimizer = functools.partial(torch.optim.AdamW, lr=recipe.lr, weight_decay=recipe.decay, fused=True)
    schedules: dict[str, Callable[..., Schedule]] = {
        "linear": WarmupLinear,
        "cosine": WarmupCosine,
        "constant": WarmupConstant,
    }
    options: dict[str, Any] = {"schedule": schedules[recipe.schedule](warmup=0.06), "seeds": recipe.seed}
    own = [L2SP(weight=recipe.anchor)] if recipe.anchor else []
    if recipe.is_lm:
        return CausalLM(str(shared / "models" / STORIES), Full(), optimizer, own, **options)
    if recipe.adapter == "LinearProbe":
        return CachedFeatures(MINILM, LinearProbe(), optimizer, own, **options, labels=labels, head_dropout=0.0)
    lora = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear")
    adapter = lora if recipe.adapter == "LoRA" else Full()
    return SequenceClassifier(MINILM, adapter, optimizer, own, **options, labels=labels)


def add_features(samples: list[Sample], cache: Cache) -> None:
    """The frozen base's pooled features of each row, computed once for all runs."""
    missing = {tuple(sample["input_ids"].tolist()): sample for sample in samples}
    missing = [sample for ids, sample in missing.items() if ids not in cache]
    if missing:
        optimizer = functools.partial(torch.optim.AdamW, lr=1.0)
        module = SequenceClassifier(MINILM, LinearProbe(), optimizer, labels=["a", "b"])
        module.configure_model()
        numbered = [sample | {"sample_id": i} for i, sample in enumerate(missing)]
        with undisturbed(module):
            for batch in loader_of(numbered, EVALUATED, None):
                for i, own in zip(batch["sample_id"].tolist(), module.features(batch), strict=True):
                    cache[tuple(missing[i]["input_ids"].tolist())] = own.clone()
    for sample in samples:
        sample["features"] = cache[tuple(sample["input_ids"].tolist())]


def train(recipe: Recipe, shared: Path, cache: Cache) -> dict[str, np.ndarray]:
    """One run; what was recorded of it, as arrays."""
    parts, labels = rows_of(shared, recipe)
    precision: Any = "32-true" if recipe.is_lm else "bf16-mixed"
    if recipe.adapter == "LinearProbe":
        precision = "32-true"
        for samples in parts.values():
            add_features(samples, cache)
    at = sorted({round(recipe.steps * (i + 1) / recipe.evaluations) for i in range(recipe.evaluations)})
    probes = parts | {"train": parts["train"][: len(parts["validation"])]}
    size = EVALUATED if recipe.adapter != "LinearProbe" else 1024
    recorder = Recorder({name: loader_of(probes[name], size, None) for name in SETS}, at)
    trainer = L.Trainer(
        max_steps=recipe.steps, accelerator="cpu", precision=precision, gradient_clip_val=1.0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[recorder],
    )  # fmt: skip
    start = time.perf_counter()
    trainer.fit(module_of(recipe, shared, labels), loader_of(parts["train"], recipe.batch, recipe.seed))
    found: dict[str, Any] = {
        "recipe": recipe.described(),
        "steps": np.array(recorder.steps[1:]),
        "travelled": np.array(recorder.travelled[1:]),
        "seconds": time.perf_counter() - start,
    }
    for name in SETS:
        nll, right = (np.stack(values) for values in zip(*recorder.scores[name], strict=True))
        ones = [int((sample["labels"] != -100).sum()) if recipe.is_lm else 1 for sample in probes[name]]
        found[f"base_{name}"], found[f"nll_{name}"] = nll[0].astype(np.float32), nll[1:].astype(np.float32)
        found[f"right_{name}"] = right[1:].astype(np.float32)
        found[f"tokens_{name}"] = np.array(ones)
        found[f"groups_{name}"] = np.array([sample["group"] for sample in probes[name]])
    return found


def frozen_probe(recipe: Recipe, shared: Path, cache: Cache) -> float:
    """NLL on validation of the reference that ``Baseline`` measures for a fresh head: what the frozen features give."""
    parts, labels = rows_of(shared, recipe)
    for name in ("train", "validation"):
        add_features(parts[name], cache)
    train, validation = (
        (
            torch.stack([sample["features"] for sample in parts[name]]),
            torch.tensor([sample["labels"] for sample in parts[name]]),
        )
        for name in ("train", "validation")
    )
    probe = FrozenFeatureProbe(len(labels))
    probe.fit(*train, validation)
    return float(torch.nn.functional.cross_entropy(probe.logits(validation[0]), validation[1]))


def add_references(folder: Path, shared: Path, cache: Cache) -> None:
    """For the runs that are told from healthy twins: ``references.json``, by name of the twin."""
    file = folder / "references.json"
    found = json.loads(file.read_text()) if file.is_file() else {}
    for run in sorted(folder.glob("healthy-*.npz")):
        recipe = Recipe(**json.loads(str(np.load(run)["recipe"])))
        if recipe.name not in found and not recipe.is_lm:
            found[recipe.name] = frozen_probe(recipe, shared, cache)
            file.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{recipe.name:32} frozen-feature probe {found[recipe.name]:.3f}", flush=True)


def keep(file: Path, found: dict[str, Any]) -> None:
    """Whole or not at all, so that an interrupted run is made again."""
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        np.savez_compressed(stream, **found)
    os.replace(part, file)


def shown(recipe: Recipe, found: dict[str, Any]) -> str:
    means = {n: found[f"nll_{n}"].sum(1) / found[f"tokens_{n}"].sum() for n in SETS}
    large = means["large"]
    return (
        f"{recipe.name:32} {found['seconds']:6.1f} s  train {means['train'][-1]:.3f}  validation "
        f"{means['validation'][-1]:.3f}  large {large[0]:.3f} best {large.min():.3f} at {large.argmin() + 1}/"
        f"{len(large)} last {large[-1]:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--part", choices=("dev", "report"), default="dev")
    parser.add_argument("--only", default="", help="beginnings of names, separated by commas")
    parser.add_argument("--references", action="store_true", help="fit the probes that the twins are compared with")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    shared = Path(os.environ.get("FINELAB_SHARED", "../shared"))
    folder = options.dir / options.part
    folder.mkdir(parents=True, exist_ok=True)
    features = options.dir / "features.pt"
    cache: Cache = torch.load(features) if features.is_file() else {}
    if options.references:
        return add_references(folder, shared, cache)
    for recipe in plan(options.part):
        file = folder / f"{recipe.name}.npz"
        if file.is_file() or not recipe.name.startswith(tuple(options.only.split(","))):
            continue
        known = len(cache)
        found = train(recipe, shared, cache)
        keep(file, found)
        if len(cache) > known:
            torch.save(cache, features)
        print(shown(recipe, found), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
