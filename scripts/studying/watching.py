"""What ``finelab study run`` shows while it runs: a live table on a terminal, else a line for each event."""

import time
from collections.abc import Callable, Mapping

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ...contracts.errors import UserError
from ...contracts.figures import duration, number
from ...contracts.record import read_record
from ...contracts.run_config import printable
from ...studies.entry import Entry
from ...studies.observer import Observer
from ...studies.results import RUN
from ...studies.scores import MissingScore, score
from ...studies.study import Study
from .board import Board
from .labels import label

FRAME = 0.5
"""Seconds between two pictures of the live table."""
BESIDES = 12
"""Lines of the live table that are no arms."""
LATEST = 4
"""Failures that the live table shows."""

BoardOf = Callable[[Mapping[str, Entry]], Board]
"""From all rows to one moment of the study."""


def said_of(entry: Entry, study: Study) -> str:
    """One line about a cell that has changed."""
    name = label(entry, study)
    if entry.state == "running":
        again = f", attempt {entry.attempts}" if entry.attempts > 1 else ""
        return f"started  {name}{again}{f' on {entry.host}' if entry.host else ''}"
    if entry.state == "done":
        return f"done     {name}: {reached(entry, study)}{duration(entry.seconds)}"
    if entry.state == "failed":
        return f"failed   {name} ({entry.reason}): {entry.message}; see {study.folder / entry.log}"
    if entry.state == "interrupted":
        why = f" ({entry.reason}): {entry.message}" if entry.reason else ""
        return f"stopped  {name}, will go on{why}"
    return f"waiting  {name}"


def reached(entry: Entry, study: Study) -> str:
    """The metric that the cell was run for."""
    metric = study.tune.metric if entry.stage == "tune" and study.tune is not None else study.metric
    try:
        value = score(read_record(study.folder / "cells" / entry.folder / RUN), metric.key)
    except (UserError, MissingScore):
        return ""
    return f"{metric.key} {number(value)}, "


class PlainLines(Observer):
    """For a pipe or a log file.

    Args:
        study: what it says.
        board: of all rows.
        write: takes one line.
    """

    def __init__(self, study: Study, board: BoardOf, write: Callable[[str], object]) -> None:
        self.study, self.board, self.write = study, board, write
        self.entries: Mapping[str, Entry] = {}

    def begin(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries
        self.write(self.board(entries).summary().plain)

    def changed(self, entry: Entry) -> None:
        board = self.board(self.entries)
        done, total = board.count("done"), len(board.planned) + board.later
        stamp = time.strftime("%H:%M:%S")
        self.write(printable(f"{stamp} [{done}/{total}] {said_of(entry, self.study)}"))

    def say(self, message: str) -> None:
        self.write(printable(message))


class LiveTable(Observer):
    """For a terminal; to be entered and left.

    Args:
        study: what it says.
        board: of all rows.
        console: to draw on.
    """

    def __init__(self, study: Study, board: BoardOf, console: Console) -> None:
        self.study, self.board, self.console = study, board, console
        self.entries: Mapping[str, Entry] = {}
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="ellipsis")
        self._board: Board | None = None
        self._drawn = 0.0

    def __enter__(self) -> "LiveTable":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._draw()
        self._live.stop()

    def begin(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries
        self._board = self.board(entries)
        self._draw()

    def changed(self, entry: Entry) -> None:
        self._board = self.board(self.entries)
        if entry.state == "failed":
            self._live.console.print(Text(printable(said_of(entry, self.study)), style="red"))
        self._draw()

    def tick(self) -> None:
        if time.monotonic() - self._drawn >= FRAME:
            self._draw()

    def say(self, message: str) -> None:
        self._live.console.print(Text(printable(message), style="yellow"))

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        if self._board is not None:
            self._live.update(picture(self._board, self.console.height), refresh=True)


def picture(board: Board, height: int) -> RenderableType:
    """A study in as many lines as a terminal has."""
    running = board.running()
    arms = max(3, height - BESIDES - len(running))
    return Group(board.summary(), Text(""), board.table(arms), Text(""), *running)
