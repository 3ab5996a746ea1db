"""``finelab study status``: every cell, also beside a running controller; nothing is written."""

import time
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ...contracts.errors import UserError
from ...contracts.record import Record, read_record
from ...contracts.run_lock import LOCK_FILE, is_locked
from ...studies.analysis.wording import counted
from ...studies.design import arms_of
from ...studies.entries import entries_of
from ...studies.entry import Entry
from ...studies.plan import PLAN_FILE, Plan
from ...studies.results import CELLS, RUN
from ...studies.study import Study
from ...studies.variants import tasks_of
from .board import Board, legend
from .cell_table import cell_table
from .found import engine_for, find_study
from .reporting import planned
from .study_changes import difference
from .tracker import Tracker
from .watching import picture
from .words import WATCH, Words

EVERY = 2.0
"""Seconds between two looks."""


def status(words: Words) -> int:
    """Show where a study stands, once or again and again.

    Returns:
        0.

    Raises:
        UserError: there is no such study.
    """
    study = find_study(words)
    console = Console(highlight=False)
    if not (study.folder / PLAN_FILE).is_file():
        console.print(Text(never_run(study, words)), soft_wrap=True)
        return 0
    look = Look(planned(words))
    if WATCH in words.switches:
        watch(look, console)
        return 0
    console.print(whole(look.board(), look.said(study.text)))
    return 0


def never_run(study: Study, words: Words) -> str:
    arms, tasks = counted(len(arms_of(study)), "arm"), len(tasks_of(study))
    on = f" on {tasks} tasks" if tasks > 1 else ""
    return (
        f"{study.name} has not been run: {study.folder} holds no results. Its file has {arms}{on} and "
        f"{counted(len(study.replicates), 'replicate')}; {words.command('plan')} says more, and "
        f"{words.command('run')} runs it."
    )


class Look:
    """At one study, as often as wanted.

    Args:
        plan: as it was last run.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.folder = plan, plan.study.folder
        self._tracker = Tracker(plan, engine_for(plan.study).slots)
        self._records: dict[str, Record] = {}
        """Of finished cells, which do not change."""

    def board(self) -> Board:
        """This moment."""
        entries = {entry.id: entry for entry in entries_of(self.folder)}
        done = [entry for entry in entries.values() if entry.state == "done"]
        finished = {entry.id: record for entry in done if (record := self._record(entry)) is not None}
        self._tracker.due(finished, {entry.id for entry in entries.values() if entry.state == "failed"})
        return self._tracker.board(entries)

    def said(self, text: str) -> list[str]:
        """What a reader has to know beside the table.

        Args:
            text: of the study file as it is now.
        """
        said = [f"It is being run by {holder(self.folder)}." if is_locked(self.folder) else "Nobody is running it now."]
        if difference(self.folder, text):
            said.append("The study file has changed since; this is the study as it was last run.")
        return said

    def _record(self, entry: Entry) -> Record | None:
        if entry.id not in self._records:
            try:
                self._records[entry.id] = read_record(self.folder / CELLS / entry.folder / RUN)
            except UserError:
                return None  # removed by hand; the next controller finds that out
        return self._records[entry.id]


def holder(folder: Path) -> str:
    pid, host = [*(folder / LOCK_FILE).read_text().split(), "?", "?"][:2]
    return f"process {pid} on {host}"


def whole(board: Board, said: list[str]) -> RenderableType:
    """Every cell that anything has happened to, then the arms."""
    blocked = [
        Text(f"{arm if task is None else f'{task}: {arm}'} is not reported: {why}.", style="yellow")
        for (arm, task), why in board.blocked.items()
    ]
    lines = [cell_table(board), Text(""), board.table(), Text(""), legend(), board.summary()]
    return Group(*lines, *blocked, *(Text(sentence, style="dim") for sentence in said))


def watch(look: Look, console: Console) -> None:
    """Until Ctrl-C, or until nobody runs it and nothing is left."""
    try:
        with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
            while True:
                board = look.board()
                said = Text(" ".join(look.said(look.plan.study.text)), style="dim")
                live.update(Group(picture(board, console.height - 1), said), refresh=True)
                time.sleep(EVERY)
    except KeyboardInterrupt:
        return
