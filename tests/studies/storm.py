"""Controllers and cells that are killed with SIGKILL again and again, against a study that is left alone.

    python -P -m studies.storm --place DIR --kills 100         # with tests/ on the path
    python -P -m studies.storm --place DIR --kills 20 --children stand-in

The last line are the figures. ``--children``: ``forked`` from controllers that have everything imported, so that a
kill costs a second instead of ten; ``warm`` and ``fresh`` as the local engine starts them; ``stand-in`` for a child of
the standard library alone.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from studies.running import Running, a_cell, stand_in

from finelab.contracts.files import OLD, PART
from finelab.contracts.parent_death import PARENT, die_with_parent
from finelab.contracts.run_config import RunConfig, config_digest
from finelab.contracts.run_lock import is_locked
from finelab.contracts.seeds import Seeds
from finelab.studies.cell import Cell, identity
from finelab.studies.engines.engine import Job
from finelab.studies.engines.launcher import Launcher
from finelab.studies.engines.local import Local
from finelab.studies.engines.process_launcher import LOG_FILE, ProcessLauncher
from finelab.studies.pace import Pace
from finelab.studies.results import RUN, finished_record

PACE = Pace(backoff=0.05, most_backoff=0.2, held=0.05)
RETRIES = 1_000
WORDS = ("red", "green", "old", "river", "stone", "paper", "bird", "works", "sings", "falls", "never", "often", "here")

CONFIG: dict[str, Any] = {
    "run": {"save_minutes": None, "save_steps": 2},
    "trainer": {
        "accelerator": "cpu",
        "callbacks": [],
        "max_epochs": 2,
        "accumulate_grad_batches": 3,
        "val_check_interval": 9,
        "enable_progress_bar": False,
    },
    "model": {
        "class_path": "finelab.models.SequenceClassifier",
        "init_args": {
            "base": "tiny://bert",
            "adapter": {"class_path": "finelab.models.adapters.Full"},
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3, "weight_decay": 0.01}},
            "regularizers": [{"class_path": "finelab.models.regularizers.RDrop", "init_args": {"weight": 1.0}}],
        },
    },
    "data": {
        "class_path": "finelab.data.TextDataModule",
        "init_args": {"template": {"class_path": "finelab.data.Classification"}, "batch_size": 4, "context": 48},
    },
}
"""Dropout, accumulation over 3, R-Drop; 12 steps in two epochs, a training state every other step."""


def write_rows(folder: Path) -> None:
    """Made-up texts of 2 to 14 words with one of three labels."""
    draw = random.Random(3)
    folder.mkdir(parents=True)
    for split, rows in (("train", 70), ("validation", 12), ("test", 6)):
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(2, 14))) for _ in range(rows)]
        labels = [draw.choice("xyz") if i > 2 else "xyz"[i] for i in range(rows)]
        lines = [json.dumps({"text": f"{text} {i}", "label": labels[i]}) for i, text in enumerate(texts)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


# ---- children


class ForkedChild:
    """A process group of its own that this process has forked."""

    def __init__(self, pid: int) -> None:
        self.pid, self._code = pid, None

    def poll(self) -> int | None:
        if self._code is None and os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            self.kill()
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def terminate(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self._code is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


class ForkingLauncher:
    """The command line's own ``main`` in a process that has everything imported."""

    def start(self, job: Job, environment: Mapping[str, str]) -> ForkedChild:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            with suppress(OSError):
                os.setpgid(pid, pid)
            return ForkedChild(pid)
        code = 70
        try:
            os.setpgid(0, 0)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.closerange(3, 256)  # as exec does: among them are the locks of the controller
            log = os.open(job.folder / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ.update({**environment, PARENT: str(parent)})
            die_with_parent()
            from finelab.scripts.cli import main

            code = main(["cell", str(job.folder)])
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def close(self) -> None:
        """Nothing is left."""


def launcher_of(children: str) -> Launcher:
    if children == "stand-in":
        return ProcessLauncher(stand_in)
    if children == "warm":
        from finelab.studies.engines.warm_launcher import WarmLauncher

        return WarmLauncher()
    return ForkingLauncher() if children == "forked" else ProcessLauncher()


# ---- the study


def cells_of(place: Path, children: str, count: int) -> list[Cell]:
    if children == "stand-in":
        return [a_cell(number, seconds=0.2) for number in range(1, count + 1)]
    whole = resolved(place)
    found = []
    for number in range(1, count + 1):
        seeds = Seeds(number, number, number)
        config = json.loads(json.dumps(whole)) | {"seeds": seeds.as_dict()}
        config["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 1e-3 * (1 + number % 3)
        digest = config_digest(config)
        arm = f"lr {1 + number % 3}"
        config["run"] = CONFIG["run"]
        found.append(Cell(identity(config), arm, None, "report", number, 0, 0, seeds, {}, config, digest))
    return found


def resolved(place: Path) -> dict[str, Any]:
    """As a fit writes it."""
    write_rows(place / "rows")
    data = CONFIG["data"]["init_args"] | {"source": str(place / "rows"), "cache_dir": str(place / "tokens")}
    file, run = place / "storm.yaml", place / "whole"
    place_of = CONFIG["run"] | {"root": str(place), "name": "whole"}
    whole = CONFIG | {"data": CONFIG["data"] | {"init_args": data}, "run": place_of}
    file.write_text(yaml.safe_dump(whole))
    from finelab.scripts.cli import main

    pid = os.fork()
    if pid == 0:
        os._exit(main(["fit", "-c", str(file), "--no-check"]))
    assert os.waitpid(pid, 0)[1] == 0
    return {key: value for key, value in RunConfig.read(run).content.items() if key != "run"}


@dataclass
class Figures:
    """Of one storm.

    Args:
        cells: planned.
        finished: of them.
        identical: of them, to an undisturbed run.
        done_twice: cells with more than one such event.
        kills: of what -> how many; ``stop`` is a SIGINT of a controller, which lets its cells save.
        orphans: processes left.
        strays: files left half-made.
        seconds: of the storm.
        quiet_seconds: of the undisturbed run.
        integrity: of the ledger.
        attempts: in all.
    """

    cells: int
    finished: int = 0
    identical: int = 0
    done_twice: int = 0
    kills: dict[str, int] = field(default_factory=lambda: {"controller": 0, "cell": 0, "stop": 0})
    orphans: int = 0
    strays: int = 0
    seconds: float = 0.0
    quiet_seconds: float = 0.0
    integrity: str = ""
    attempts: int = 0

    @property
    def is_well(self) -> bool:
        counts = {self.finished, self.identical, self.cells}
        return len(counts) == 1 and not self.done_twice and not self.orphans and self.integrity == "ok"


class Storm:
    """A study that is run undisturbed, and once more under fire.

    Args:
        place: an empty folder.
        children: how they are started.
        count: of cells.
        slots: at a time.
        seed: of what is killed, and when.
    """

    def __init__(self, place: Path, children: str, count: int, slots: int = 2, seed: int = 0) -> None:
        place.mkdir(parents=True, exist_ok=True)
        if children == "forked":
            import finelab.scripts.warm as warm

            warm.import_all()
        self.children, self.slots, self.draw = children, slots, random.Random(seed)
        self.cells = cells_of(place, children, count)
        self.quiet = Running(place / "quiet", self.cells, retries=RETRIES)
        self.studied = Running(place / "storm", self.cells, retries=RETRIES)
        self.log = place / "controllers.txt"

    def controller(self, study: Running) -> int:
        """Its process."""
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            engine = Local(slots=self.slots, gpus=0, launcher=launcher_of(self.children))
            code = study.run(engine=engine, pace=PACE).exit_code
        finally:
            sys.stderr.flush()
            os._exit(code)

    def run(self, kills: int, every: float, controllers: float = 0.3) -> Figures:
        """Args:
        kills: most of them.
        every: seconds between two, on average.
        controllers: share of them among those that are killed.
        """
        figures, begun = Figures(len(self.cells)), time.monotonic()
        status = os.waitpid(self.controller(self.quiet), 0)[1]
        assert status == 0, self.log.read_text()[-3000:]
        figures.quiet_seconds = time.monotonic() - begun
        begun, controller = time.monotonic(), self.controller(self.studied)
        while sum(figures.kills.values()) < kills:
            time.sleep(self.draw.expovariate(1 / every))
            if os.waitpid(controller, os.WNOHANG)[0]:
                break
            children = list(self.children_of(controller))
            if self.draw.random() < controllers:
                way = self.draw.choice(["controller", "controller", "controller", "stop"])
                os.kill(controller, signal.SIGKILL if way == "controller" else signal.SIGINT)
                os.waitpid(controller, 0)
                figures.kills[way] += 1
                controller = self.controller(self.studied)
            elif children:
                with suppress(ProcessLookupError):
                    os.kill(self.draw.choice(children), signal.SIGKILL)
                    figures.kills["cell"] += 1
        else:
            assert os.waitpid(controller, 0)[1] == 0, self.log.read_text()[-3000:]
        figures.seconds = time.monotonic() - begun
        return self.judged(figures)

    def children_of(self, controller: int) -> Iterator[int]:
        """Processes that hold a cell and descend from this controller."""
        for cell in self.cells:
            lock = self.studied.place(cell) / ".lock"
            with suppress(OSError, ValueError, IndexError):
                pid = int(lock.read_text().split()[0])
                if is_locked(lock.parent) and controller in (parent_of(pid), parent_of(parent_of(pid))):
                    yield pid

    def judged(self, figures: Figures) -> Figures:
        import sqlite3

        found, expected = results(self.studied), results(self.quiet)
        figures.finished = len(found)
        figures.identical = sum(found.get(cell.id) == expected[cell.id] for cell in self.cells)
        figures.done_twice = sum(number > 1 for number in self.studied.count("done").values())
        figures.attempts = sum(self.studied.count("start").values())
        figures.orphans = len(users_of(self.studied.folder))
        names = [
            path for path in self.studied.folder.rglob(".*") if PART.fullmatch(path.name) or OLD.fullmatch(path.name)
        ]
        figures.strays = len(names)
        connection = sqlite3.connect(self.studied.folder / "ledger.db")
        figures.integrity = connection.execute("PRAGMA integrity_check").fetchone()[0]
        states = {state for (state,) in connection.execute("SELECT DISTINCT state FROM cells")}
        connection.close()
        assert states == {"done"}, states
        return figures


def results(study: Running) -> dict[str, Any]:
    """Id -> what decides a claim: every number, the order of the rows, and the weights to the bit."""
    found = {}
    for cell in study.cells:
        run = study.place(cell) / RUN
        record = finished_record(cell, run)
        if record is not None:
            weights = {
                path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(run.glob("checkpoints/*/*.safetensors"))
                if not path.parent.name.startswith("state-")  # of a run that was killed between its record and its end
            }
            metrics = {split: asdict(result) for split, result in record.metrics.items()}
            found[cell.id] = [metrics, record.history, record.order_digest, asdict(record.best), weights]
    return found


def parent_of(pid: int) -> int:
    """0 of a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def users_of(folder: Path) -> list[int]:
    """Processes that have a file of it open, this one apart."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            targets = [os.readlink(handle) for handle in (process / "fd").iterdir()]
            if int(process.name) != os.getpid() and any(target.startswith(str(folder.resolve())) for target in targets):
                found.append(int(process.name))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--children", choices=("forked", "warm", "fresh", "stand-in"), default="forked")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--cells", type=int, default=12)
    parser.add_argument("--every", type=float, default=1.0)
    parser.add_argument("--controllers", type=float, default=0.3)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    storm = Storm(given.place, given.children, given.cells, given.slots, given.seed)
    figures = storm.run(given.kills, given.every, given.controllers)
    print(json.dumps(asdict(figures)))
    return 0 if figures.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
