"""A study that is run with stand-ins for its children."""

import dataclasses
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finelab.contracts.record import Record
from finelab.contracts.run_config import config_digest
from finelab.contracts.seeds import Seeds
from finelab.studies.cell import Cell, identity
from finelab.studies.controller import Controller
from finelab.studies.engines.engine import Job
from finelab.studies.engines.local import Local
from finelab.studies.engines.process_launcher import ProcessLauncher
from finelab.studies.entry import Entry
from finelab.studies.event_log import EventLog
from finelab.studies.observer import Observer
from finelab.studies.outcome import Outcome
from finelab.studies.pace import Pace
from finelab.studies.study import Study

from .made_up import a_record, a_study

STAND_IN = Path(__file__).with_name("stand_in.py")
FAST = Pace(backoff=0.01, most_backoff=0.05, held=0.05, grace=0.5)


def stand_in(job: Job) -> list[str]:
    return [sys.executable, "-I", "-S", str(STAND_IN), str(job.folder)]


def travelling_stand_in() -> ProcessLauncher:
    """The same for another process, to which a local function is sent whole."""
    script = str(STAND_IN)

    def command(job: Job) -> list[str]:
        return [sys.executable, "-I", "-S", script, str(job.folder)]

    return ProcessLauncher(command)


def a_cell(number: int, *fates: str, seconds: float = 0.0) -> Cell:
    """One whose child does that; the number makes it another one."""
    seeds = Seeds(number, number, number)
    config: dict[str, Any] = {"seeds": seeds.as_dict(), "child": {"fates": fates or ("finish",), "seconds": seconds}}
    bare = Cell(identity(config), f"arm {number % 3}", None, "report", number // 3, 0, 0, seeds, {}, config, "")
    record = a_record(bare, {"accuracy": 0.5 + number / 1000, "nll": 0.7}, 8)
    config["child"]["record"] = asdict(record)
    return dataclasses.replace(bare, config=config, config_digest=config_digest(config))


@dataclass
class Due:
    """What ``stages.due`` gives."""

    cells: list[Cell]
    planned: Sequence[Cell]
    complete: bool


@dataclass
class AllAtOnce:
    """Every cell can be run from the start."""

    cells: Sequence[Cell]

    def __call__(self, finished: Mapping[str, Record], failed: Collection[str] = ()) -> Due:
        left = [cell for cell in self.cells if cell.id not in finished]
        return Due([cell for cell in left if cell.id not in failed], self.cells, not left)


class Watcher(Observer):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.entries: Mapping[str, Entry] = {}

    def begin(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries

    def changed(self, entry: Entry) -> None:
        self.seen.append((entry.id, entry.state))

    def say(self, message: str) -> None:
        self.said.append(message)


class Running:
    """A study's folder, and controllers on it.

    Args:
        place: an empty folder.
        cells: of the study.
        limits: of ``Study``, by name.
    """

    def __init__(self, place: Path, cells: Sequence[Cell], **limits: Any) -> None:
        study = a_study(place, ["none"])
        self.study: Study = dataclasses.replace(study, limits=dataclasses.replace(study.limits, **limits))
        self.cells = cells
        self.watcher = Watcher()

    @property
    def folder(self) -> Path:
        return self.study.folder

    def controller(self, slots: int = 2, due: Any = None, **options: Any) -> Controller:
        engine = options.pop("engine", None) or Local(slots=slots, gpus=0, launcher=ProcessLauncher(stand_in))
        options = {"observer": self.watcher, "pace": FAST} | options
        return Controller(self.study, due or AllAtOnce(self.cells), engine, **options)

    def run(self, slots: int = 2, **options: Any) -> Outcome:
        return self.controller(slots, **options).run()

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        return [found for found in EventLog(self.folder / "events.jsonl").read() if found["event"] in kinds]

    def count(self, kind: str) -> Counter[str]:
        """Events of that kind by cell."""
        return Counter(found["cell"] for found in self.events(kind))

    def place(self, cell: Cell) -> Path:
        return self.folder / "cells" / cell.folder_name
