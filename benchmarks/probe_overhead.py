"""What probes, verdict and the other measures of issue 6 cost on the quickstart, beside training without them.

    python benchmarks/probe_overhead.py                          # both sides in turns, the quickstart's 3 epochs
    python benchmarks/probe_overhead.py --epochs 1 --rounds 1    # a third of the training: what comes once weighs more

Both sides are `finelab fit` with `configs/quickstart.yaml` in one process; one lacks the measures. The time of each
measure is that of its own hooks, passes included, also of those before the first step and after the last one. Overhead
is their sum over the time of training without them (steps and Lightning's own validations, from the first step on), in
processor time, which other work on the machine disturbs less than wall-clock time. With `--one-side` training without
them is taken to be training with them less their own time. The default schedule evaluates once an epoch.
"""

import argparse
import functools
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from lightning.pytorch import Callback

from finelab.callbacks.standard import standard_callbacks
from finelab.scripts import lightning_cli
from finelab.scripts.cli import main as finelab

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results" / "probe_overhead.json"
LIMIT = 0.15
MEASURES = ("Probes", "Overfitting", "Calibration", "Movement", "Forgetting")
"""Names of classes, so that one which a version lacks is simply not there."""


class Times:
    """Processor seconds of measures, a call inside another's counted once."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.wall: dict[str, float] = defaultdict(float)
        self.inside = False

    def watch(self, callback: Any) -> None:
        """Wrap every public method and hook of a measure."""
        name = type(callback).__name__
        for hook in dir(type(callback)):
            if hook.startswith(("on_", "measure_", "take_", "setup")) and callable(getattr(callback, hook)):
                setattr(callback, hook, self.timed(name, getattr(callback, hook)))

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def run(*args: Any, **kwargs: Any) -> Any:
            if self.inside:
                return call(*args, **kwargs)
            self.inside, cpu, wall = True, time.process_time(), time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.inside = False
                self.cpu[name] += time.process_time() - cpu
                self.wall[name] += time.perf_counter() - wall

        return run


class Start(Callback):
    """The moment before the first step, when all others have looked at the untouched model."""

    def __init__(self, end: "End") -> None:
        self.end = end

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.end.began = time.process_time(), time.perf_counter()
        self.end.before = sum(self.end.times.cpu.values())


class End(Callback):
    """The moment after the last step, before anybody evaluates the best weights."""

    def __init__(self, times: Times) -> None:
        self.times = times
        self.began = 0.0, 0.0
        self.cpu = self.wall = self.before = self.measures = self.validation = 0.0
        self.steps = 0
        self.at = 0.0

    def others(self) -> float:
        """Processor seconds so far of everything but measures."""
        return time.process_time() - sum(self.times.cpu.values())

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.at = self.others()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.validation += self.others() - self.at

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.cpu, self.wall = time.process_time() - self.began[0], time.perf_counter() - self.began[1]
        self.measures = sum(self.times.cpu.values()) - self.before
        self.steps = trainer.global_step


def fit(measured: bool, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One run of the quickstart, with the measures or without; times in seconds."""
    times = Times()
    end = End(times)

    def callbacks(run: Any, own: Any = ()) -> list[Callback]:
        found = standard_callbacks(run, own)
        if not measured:
            found = [each for each in found if type(each).__name__ not in MEASURES]
        for each in found:
            if type(each).__name__ in MEASURES:
                times.watch(each)
        return [end, *found, Start(end)]

    lightning_cli.standard_callbacks = callbacks
    arguments = ["fit", "-c", str(options.config), "--run.root", str(folder), "--no-check"]
    arguments += ["--trainer.max_epochs", str(options.epochs), *options.override]
    whole = time.process_time(), time.perf_counter()
    try:
        code = finelab(arguments)
    finally:
        lightning_cli.standard_callbacks = standard_callbacks
    if code:
        sys.exit(f"finelab fit ended with {code}")
    parts = {name: round(times.cpu[name], 2) for name in MEASURES if name in times.cpu}
    return {
        "measured": measured,
        "steps": end.steps,
        "training cpu": round(end.cpu, 2),
        "measures in training cpu": round(end.measures, 2),
        "validation cpu": round(end.validation, 2),
        "training wall": round(end.wall, 2),
        "whole cpu": round(time.process_time() - whole[0], 2),
        "whole wall": round(time.perf_counter() - whole[1], 2),
        "parts cpu": parts,
        "parts wall": {name: round(times.wall[name], 2) for name in parts},
    }


def summary(runs: list[dict[str, Any]], epochs: int, epoch_steps: int | None) -> dict[str, Any]:
    """Of the medians: what the measures take over what training takes without them.

    Args:
        runs: of one side or both.
        epochs: of each run.
        epoch_steps: steps of a whole epoch where the runs were cut short: their steps then stand for as many.
    """

    def median(key: str, measured: bool) -> float:
        values = sorted(run[key] for run in runs if run["measured"] == measured)
        return values[len(values) // 2]

    one_side = all(run["measured"] for run in runs)
    within, validation = median("measures in training cpu", True), median("validation cpu", one_side)
    plain = median("training cpu", True) - within if one_side else median("training cpu", False)
    steps = median("steps", one_side)
    if epoch_steps is not None:
        plain = (plain - validation) * epoch_steps * epochs / steps + validation
    own = [run["parts cpu"] for run in runs if run["measured"]]
    parts = {name: round(sorted(each[name] for each in own)[len(own) // 2], 2) for name in own[0]}
    whole = sum(parts.values())
    default = 3 * within / epochs + whole - within
    overhead = default / (3 * plain / epochs)
    return {
        "training without, cpu s": round(plain, 2),
        "a validation of it, cpu s": round(validation / epochs, 2),
        "measures, cpu s": parts,
        "of them during training, cpu s": within,
        "overhead of this run": round(whole / plain, 4),
        "overhead at 3 epochs": round(overhead, 4),
        "limit": LIMIT,
        "within": overhead <= LIMIT,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "quickstart.yaml")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--one-side", action="store_true", help="only with the measures: half the time")
    parser.add_argument("--epoch-steps", type=int, help="of a whole epoch, where overrides cut it short")
    parser.add_argument("--threads", type=int, default=None, help="of torch; default: torch's own choice")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("override", nargs="*", help="behind --: more arguments of finelab fit")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(options.rounds):
            sides = (True,) if options.one_side else (False, True)
            for measured in sides if round_ % 2 == 0 else sides[::-1]:
                load = round(os.getloadavg()[0], 2)
                runs.append(fit(measured, options, Path(folder)) | {"load before": load})
                print(json.dumps(runs[-1]), flush=True)
    content = {"epochs": options.epochs, "threads": torch.get_num_threads(), "cores": psutil.cpu_count()}
    content |= {"summary": summary(runs, options.epochs, options.epoch_steps), "runs": runs}
    options.output.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["summary"], indent=1))


if __name__ == "__main__":
    main()
