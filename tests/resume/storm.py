"""Runs that are killed with SIGKILL again and again, against one that is left alone; run as a program.

    python tests/resume/storm.py --runs 50 --place DIR        # figures of the whole storm, as JSON on the last line

Every life is the command line's own ``main`` in a process of its own: ``fit -c`` for the first, ``fit --resume`` for
the next ones. So that a kill costs a second, a parent that has imported everything and has no thread forks them;
``--fresh`` starts interpreters instead, to show that it makes no difference.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

import finelab.callbacks.state_io as state_io
import finelab.scripts.lightning_cli as command_line
from finelab.contracts.errors import UserError
from finelab.contracts.record import read_record
from finelab.contracts.state_folder import latest_state
from finelab.scripts.cli import main

FINAL = "final.pt"
ROWS, PATIENCE = 70, 120
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


@dataclass(frozen=True)
class Plan:
    """When a life ends: after some seconds, at a moment of training, or at a call of the file system in a save.

    Args:
        kind: clock, moment, save, or none: it is let live.
        at: seconds, or the number of the moment or call.
        workers_too: the loader's workers die with it, as in a container; else they notice by themselves.
    """

    kind: str = "none"
    at: float = 0
    workers_too: bool = True


class Moments(Callback):
    """What a run consumed, by way of the states it went on from; and an end at a given moment."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.moments = plan, 0
        self.ids: list[list[int]] = []
        self.losses: list[float] = []

    def _pass(self, *_: object) -> None:
        self.moments += 1
        if self.plan.kind == "moment" and self.moments == self.plan.at:
            die()

    on_train_batch_start = on_before_backward = on_after_backward = on_before_optimizer_step = _pass
    on_validation_start = on_validation_batch_start = on_validation_end = _pass

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._pass()
        self.ids.append(batch["sample_id"].tolist())
        if trainer.global_step > len(self.losses):
            self.losses.append(trainer.callback_metrics["train/loss"].item())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the best weights are put back for the last evaluation."""
        trained = {name: p.detach().clone() for name, p in pl_module.named_parameters() if p.requires_grad}
        moments = trainer.optimizers[0].state_dict()["state"]
        left = {"weights": trained, "moments": moments, "ids": self.ids, "losses": self.losses}
        torch.save(left, Path(str(trainer.loggers[0].log_dir or trainer.default_root_dir)) / FINAL)

    def state_dict(self) -> dict[str, Any]:
        return {"ids": list(self.ids), "losses": list(self.losses)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.ids, self.losses = list(state_dict["ids"]), list(state_dict["losses"])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(plan: Plan) -> None:
    """Adds the moments to the callbacks of this process, and an end in a save."""
    whole = command_line.standard_callbacks

    def with_moments(run: Any, own: Sequence[Callback] = ()) -> list[Callback]:
        return whole(run, [Moments(plan), *own])

    command_line.standard_callbacks = with_moments
    if plan.kind != "save":
        return
    calls, saving = [0], [False]
    save = state_io.StateIO.save_checkpoint

    def watched(self: Any, *arguments: Any, **options: Any) -> None:
        saving[0] = True
        try:
            save(self, *arguments, **options)
        finally:
            saving[0] = False

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if saving[0] and (event == "open" or event.startswith(("os.", "shutil."))):
            calls[0] += 1
            if calls[0] == plan.at:
                die()

    state_io.StateIO.save_checkpoint = watched
    sys.addaudithook(count)


def life(words: list[str], plan: Plan, log: Path) -> int:
    """One process from its start to its end; -9 where it was killed."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = 70
        try:
            arm(plan)
            code = main(words)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return ended(pid, plan)


def fresh_life(words: list[str], plan: Plan, log: Path) -> int:
    command = [sys.executable, __file__, "--life", json.dumps(words), "--plan", json.dumps(asdict(plan))]
    with log.open("a") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    return ended(child.pid, plan)


def ended(pid: int, plan: Plan) -> int:
    limit = time.monotonic() + (plan.at if plan.kind == "clock" else PATIENCE)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > limit:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            break
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(status)
    if code == -9 and plan.workers_too:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    return code


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
                fate.steps_at_resume.append(int(state.name.partition("-")[2]))
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
    parser.add_argument("--life", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--plan", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.life is not None:
        arm(Plan(**given.plan))
        sys.exit(main(given.life))
    sys.exit(storm(given))
