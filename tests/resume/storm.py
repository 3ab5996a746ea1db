"""Runs that are killed with SIGKILL again and again, against one that is left alone; run as a program.

    python tests/resume/storm.py --runs 50 --place DIR        # figures of the whole storm, as JSON on the last line

Every life is the command line's own ``main`` in a process of its own: ``fit -c`` for the first, ``fit --resume`` for
the next ones. So that a kill costs a second, a parent that has imported everything and has no thread forks them;
``--fresh`` starts interpreters instead, to show that it makes no difference.
"""

import argparse
import contextlib
import json
import random
import shutil
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from lives import FINAL, Plan, fresh_life, life
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util import tensor_util

from finelab.contracts.errors import UserError
from finelab.contracts.record import read_record
from finelab.contracts.state_folder import latest_state, step_of

ROWS = 70
WORDS = ("red", "green", "old", "river", "stone", "paper", "bird", "works", "sings", "falls", "never", "often", "here")

CONFIG: dict[str, Any] = {
    "seeds": 1,
    "run": {"save_minutes": None, "save_steps": 2},
    "trainer": {
        "accelerator": "cpu",
        "max_epochs": 2,
        "accumulate_grad_batches": 3,
        "val_check_interval": 9,
        "enable_progress_bar": False,
        "log_every_n_steps": 1,
    },
    "model": {
        "class_path": "finelab.models.SequenceClassifier",
        "init_args": {
            "base": "tiny://bert",
            "adapter": {"class_path": "finelab.models.adapters.Full"},
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3, "weight_decay": 0.01}},
            "schedule": {"class_path": "finelab.models.WarmupLinear", "init_args": {"warmup": 0.1}},
            "regularizers": [
                {"class_path": "finelab.models.regularizers.Mixout", "init_args": {"p": 0.5}},
                {"class_path": "finelab.models.regularizers.RDrop", "init_args": {"weight": 1.0}},
            ],
        },
    },
    "data": {
        "class_path": "finelab.data.TextDataModule",
        "init_args": {
            "template": {"class_path": "finelab.data.Classification"},
            "batch_size": 4,
            "context": 48,
            "loader": {"num_workers": 2, "bucketing": True},
        },
    },
}
"""Dropout of the base on, accumulation over 3, bucketing, two workers, Mixout and R-Drop; 12 steps in two epochs."""


def write_rows(folder: Path) -> None:
    """Made-up texts of 2 to 14 words with one of three labels."""
    draw = random.Random(3)
    folder.mkdir(parents=True)
    for split, rows in (("train", ROWS), ("validation", 12), ("test", 6)):
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(2, 14))) for _ in range(rows)]
        labels = [draw.choice("xyz") if i > 2 else "xyz"[i] for i in range(rows)]
        lines = [json.dumps({"text": f"{text} {i}", "label": labels[i]}) for i, text in enumerate(texts)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


@dataclass
class Fate:
    """How one run of a storm went."""

    seed: int
    kills: dict[str, int] = field(default_factory=dict)
    steps_at_resume: list[int] = field(default_factory=list)
    seconds: float = 0.0
    differs: list[str] = field(default_factory=list)


class Storm:
    """One whole run, and others like it that are killed."""

    def __init__(self, place: Path, fresh: bool = False) -> None:
        self.place, self.life = place, fresh_life if fresh else life
        shutil.rmtree(place, ignore_errors=True)
        write_rows(place / "rows")
        data = CONFIG["data"]["init_args"] | {"source": str(place / "rows"), "cache_dir": str(place / "tokens")}
        config = CONFIG | {"data": CONFIG["data"] | {"init_args": data}}
        config["run"] = config["run"] | {"root": str(place / "runs")}
        (place / "storm.yaml").write_text(yaml.safe_dump(config))
        begun = time.monotonic()
        self.begin("whole", Plan())
        self.seconds = time.monotonic() - begun
        self.whole = torch.load(place / "runs" / "whole" / FINAL, weights_only=True)

    def begin(self, name: str, plan: Plan) -> int:
        words = ["fit", "-c", str(self.place / "storm.yaml"), "--run.name", name]
        return self._live(name, words, plan)

    def _live(self, name: str, words: list[str], plan: Plan) -> int:
        log = self.place / f"{name}.log"
        code = self.life(words, plan, log)
        if code not in (0, -9):
            raise RuntimeError(f"{' '.join(words)} ended with {code}:\n{log.read_text()[-3000:]}")
        return code

    def fate(self, seed: int, most_kills: int) -> Fate:
        """Kill one run some times, let it end, and compare."""
        draw, begun, fate = random.Random(seed), time.monotonic(), Fate(seed)
        name, run = f"storm-{seed}", self.place / "runs" / f"storm-{seed}"
        for plan in [*(self.plan(draw) for _ in range(draw.randint(1, most_kills))), Plan()]:
            state = latest_state(run)
            if state is None:  # killed before its first state: there is nothing to go on with
                shutil.rmtree(run, ignore_errors=True)
                code = self.begin(name, plan)
            else:
                fate.steps_at_resume.append(step_of(state))
                code = self._live(name, ["fit", "--resume", str(run)], plan)
            if code == 0:
                break
            fate.kills[plan.kind] = fate.kills.get(plan.kind, 0) + 1
            if is_finished(run):  # killed between its record and its end
                break
        fate.differs = self.differences(run)
        fate.seconds = time.monotonic() - begun
        if not fate.differs:
            shutil.rmtree(run)
        return fate

    def plan(self, draw: random.Random) -> Plan:
        workers_too = draw.random() < 0.9
        match draw.choice(["clock", "clock", "moment", "save"]):
            case "clock":
                return Plan("clock", draw.uniform(0, self.seconds), workers_too)
            case "moment":
                return Plan("moment", draw.randint(1, 150), workers_too)
            case _:
                return Plan("save", draw.randint(1, 150), workers_too)

    def differences(self, run: Path) -> list[str]:
        """What is not the same to the bit."""
        left = torch.load(run / FINAL, weights_only=True)
        pairs = {
            "weights": (self.whole["weights"], left["weights"]),
            "moments": (self.whole["moments"], left["moments"]),
        }
        found = [what for what, pair in pairs.items() if not alike(*pair)]
        found += [what for what in ("ids", "losses") if self.whole[what] != left[what]]
        whole, record = read_record(self.place / "runs" / "whole"), read_record(run)
        if record.status != "finished" or record.metrics != whole.metrics:
            found.append("record")
        curves, own = points(self.place / "runs" / "whole"), points(run)
        return found + sorted(tag for tag in curves.keys() | own.keys() if curves.get(tag) != own.get(tag))


def points(run: Path) -> dict[str, list[tuple[int, str]]]:
    """Every point of the curves that training and validation draw, in the order of the files: a doubled one counts."""
    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(run.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.tag.startswith(("train/", "reg/", "grad/", "val/")):
                    number = tensor_util.make_ndarray(value.tensor).item()
                    found.setdefault(value.tag, []).append((event.step, repr(number)))  # nan is nan
    return found


def is_finished(run: Path) -> bool:
    with contextlib.suppress(UserError):
        return read_record(run).status == "finished"
    return False


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(value, other[key]) for key, value in one.items())
    return one == other


def storm(arguments: argparse.Namespace) -> int:
    begun = time.monotonic()
    weather = Storm(arguments.place, arguments.fresh)
    fates = []
    for seed in range(arguments.first, arguments.first + arguments.runs):
        fates.append(fate := weather.fate(seed, arguments.kills))
        print(json.dumps(asdict(fate)), flush=True)
    kills = {kind: sum(fate.kills.get(kind, 0) for fate in fates) for kind in ("clock", "moment", "save")}
    same = sum(not fate.differs for fate in fates)
    figures = {"same": same, "runs": len(fates), "kills": kills, "whole_s": weather.seconds}
    print(json.dumps(figures | {"seconds": time.monotonic() - begun}))
    return 0 if same == len(fates) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--place", type=Path, help="a folder for everything; it is emptied")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="seed of the first run")
    parser.add_argument("--kills", type=int, default=4, help="most kills of one run")
    parser.add_argument("--fresh", action="store_true", help="a new interpreter for every life")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sys.exit(storm(given))
