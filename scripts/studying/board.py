"""Where a study stands, as a table of arms: one sign for each cell."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...contracts.figures import duration
from ...studies.cell import Cell, Stage
from ...studies.entry import Entry, State
from ...studies.study import Study
from .labels import label

SIGNS: Mapping[State, tuple[str, str]] = {
    "done": ("●", "green"),
    "running": ("◐", "cyan"),
    "failed": ("✗", "bold red"),
    "interrupted": ("◌", "yellow"),
    "pending": ("·", "dim"),
}
TITLES: Mapping[Stage, str] = {"tune": "tuning", "report": "reported", "noise": "noise", "confirm": "confirmed"}
WORDS = {"done": "done", "running": "running", "failed": "failed", "interrupted": "to go on", "pending": "waiting"}
MOST_SIGNS = 20
"""More cells of an arm and a stage than these are counted instead."""


@dataclass(frozen=True)
class Board:
    """One moment of a study.

    Args:
        study: what it says.
        planned: every cell that is known to be needed.
        entries: id -> row, of those that something has happened to.
        later: cells that are sure to follow, once results decide what they are.
        waits: whether a confirmation may follow.
        blocked: (arm, task) -> why it is not reported.
        left: seconds that the rest takes, estimated; None where nothing is known.
        seconds: (arm, task) -> of one cell, estimated.
    """

    study: Study
    planned: Sequence[Cell]
    entries: Mapping[str, Entry]
    later: int = 0
    waits: bool = False
    blocked: Mapping[tuple[str, str | None], str] = field(default_factory=dict)
    left: float | None = None
    seconds: Mapping[tuple[str, str | None], float] = field(default_factory=dict)

    def state(self, cell: Cell) -> State:
        entry = self.entries.get(cell.id)
        return "pending" if entry is None else entry.state

    def count(self, *states: State) -> int:
        return sum(self.state(cell) in states for cell in self.planned)

    def summary(self) -> Text:
        """One line."""
        said = Text.assemble(
            (self.study.name, "bold"), f": {self.count('done')} of {len(self.planned) + self.later} cells"
        )
        for state in ("running", "failed", "interrupted"):
            if number := self.count(state):
                said.append(f", {number} {WORDS[state]}", SIGNS[state][1])
        if self.waits:
            said.append(", then the confirmation")
        if self.left is not None and self.count("pending", "running", "interrupted") + self.later:
            said.append(f", about {duration(round(self.left))} left")
        return said

    def table(self, most: int | None = None) -> RenderableType:
        """A line for each arm.

        Args:
            most: lines; arms of which all is done, and then those of which nothing is, are left out before others.
        """
        stages: list[Stage] = [stage for stage in TITLES if any(cell.stage == stage for cell in self.planned)]
        by_arm: dict[tuple[str | None, str], dict[Stage, list[State]]] = {}
        for cell in self.planned:
            by_arm.setdefault((cell.task, cell.arm), {}).setdefault(cell.stage, []).append(self.state(cell))
        shown = _most_telling(by_arm, most)
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("arm", overflow="fold", ratio=None)
        for stage in stages:
            table.add_column(TITLES[stage], no_wrap=True)
        for task, arm in by_arm:
            if (task, arm) in shown:
                signs = [_signs(by_arm[task, arm].get(stage, [])) for stage in stages]
                table.add_row(Text(arm if task is None else f"{task}: {arm}"), *signs)
        hidden = len(by_arm) - len(shown)
        return Group(table, Text(f"and {hidden} more arms", style="dim")) if hidden else table

    def running(self, now: float | None = None) -> list[Text]:
        """A line for each cell at work."""
        now = time.time() if now is None else now
        found = [self.entries[cell.id] for cell in self.planned if self.state(cell) == "running"]
        return [
            Text.assemble(
                ("◐ ", "cyan"),
                label(entry, self.study),
                (f"  {duration(max(0.0, now - entry.started)) if entry.started else ''}", "dim"),
                (f"  attempt {entry.attempts}" if entry.attempts > 1 else "", "yellow"),
            )
            for entry in sorted(found, key=lambda entry: entry.started or 0.0)
        ]

    def failures(self) -> list[Text]:
        """A line for each cell that failed for good."""
        found = [self.entries[cell.id] for cell in self.planned if self.state(cell) == "failed"]
        return [
            Text.assemble(("✗ ", "bold red"), label(entry, self.study), (f"  {entry.reason}: {entry.message}", "dim"))
            for entry in found
        ]


def legend() -> Text:
    """What the signs mean."""
    return Text("  ").join(Text.assemble((sign, style), f" {WORDS[state]}") for state, (sign, style) in SIGNS.items())


def _signs(states: Sequence[State]) -> Text:
    if len(states) > MOST_SIGNS:
        return Text(f"{states.count('done')}/{len(states)}")
    return Text.assemble(*(SIGNS[state] for state in states))


def _most_telling(
    by_arm: Mapping[tuple[str | None, str], Mapping[Stage, list[State]]], most: int | None
) -> Collection[tuple[str | None, str]]:
    if most is None or len(by_arm) <= most:
        return by_arm.keys()

    def dullness(arm: tuple[str | None, str]) -> int:
        states = {state for stage in by_arm[arm].values() for state in stage}
        return 3 if states == {"done"} else 2 if states == {"pending"} else 0 if "running" in states else 1

    return set(sorted(by_arm, key=dullness)[:most])
