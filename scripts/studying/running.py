"""``finelab study run``: everything that has no result yet, then the report."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from ...contracts.run_config import printable
from ...contracts.run_lock import is_locked
from ...studies.analysis.contrasts import declared
from ...studies.books import EVENTS_FILE
from ...studies.controller import Controller
from ...studies.entry import Entry
from ...studies.event_log import EventLog, event
from ...studies.observer import Observer
from ...studies.outcome import Outcome
from ...studies.plan import Plan
from ...studies.planning import plan_of, write_study
from ...studies.study import Study
from ...studies.study_lock import study_lock
from .found import engine_for, find_study
from .metric_guard import MetricGuard
from .reporting import PLANNED, say_report
from .study_changes import show_changes
from .tracker import Tracker
from .words import FAIL_FAST, FAILED, Words


def run(words: Words) -> int:
    """Run a study, or go on with it.

    Returns:
        0 if every planned cell has a result, 1 if not, 130 after Ctrl-C.

    Raises:
        UserError: the study cannot be run as it is.
    """
    study = find_study(words)
    require_free(study)
    engine = engine_for(study)
    say(f"Reading {printable(str(study.file))} and the configuration of every arm ...")
    plan = plan_of(study)
    show_changes(plan, say)
    if nothing := without_comparison(plan):
        say(nothing)
    tracker = Tracker(plan, engine.slots)
    guard = MetricGuard(study, tracker.due)
    with watcher(study, tracker) as observer:
        opened = Opened(plan, observer)
        outcome = Controller(study, guard.due, engine, opened, FAIL_FAST in words.switches).run()
    if guard.refused and outcome.signal is None and not outcome.paused:
        print(f"finelab: {printable(guard.refused)}", file=sys.stderr)
        return 1
    return conclude(words, tracker, outcome, opened.entries)


def without_comparison(plan: Plan) -> str:
    """What follows from a design in which nothing is compared; empty where something is."""
    if declared(plan.arms, plan.tasks):
        return ""
    return (
        "No comparison follows from this file: every arm is a reference, so that there are scores and no differences. "
        "Give a factor a second level, or leave the only factor out of within:."
    )


def require_free(study: Study) -> None:
    """Raises:
    UserError: another controller runs it; said before the configurations are read, which takes seconds.
    """
    if is_locked(study.folder):
        with study_lock(study.folder):
            pass


class Opened(Observer):
    """Writes down what is run, once the study is ours alone, and tells another observer everything.

    Args:
        plan: of the study.
        then: the other one.
    """

    def __init__(self, plan: Plan, then: Observer) -> None:
        self.plan, self.then = plan, then
        self.entries: Mapping[str, Entry] = {}

    def begin(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries
        folder = self.plan.study.folder
        write_study(self.plan, folder)
        EventLog(folder / EVENTS_FILE).append([event(PLANNED, code=self.plan.resolution.code)])
        self.then.begin(entries)

    def changed(self, entry: Entry) -> None:
        self.then.changed(entry)

    def tick(self) -> None:
        self.then.tick()

    def say(self, message: str) -> None:
        self.then.say(message)


def watcher(study: Study, tracker: Tracker) -> AbstractContextManager[Observer]:
    """A live table on a terminal, otherwise lines."""
    from rich.console import Console

    from .watching import LiveTable, PlainLines

    console = Console()
    if console.is_terminal:
        return LiveTable(study, tracker.board, console)
    return nullcontext(PlainLines(study, tracker.board, say))


def conclude(words: Words, tracker: Tracker, outcome: Outcome, entries: Mapping[str, Entry]) -> int:
    """Say how it ended and what comes next; write the report unless it was stopped."""
    study, board = tracker.plan.study, tracker.board(entries)
    if outcome.signal is not None or outcome.paused:
        how = "stopped" if outcome.signal is not None else "paused"
        done = f"{board.count('done')} of {len(board.planned) + board.later} cells are done, {outcome.ran} of them now"
        print(f"finelab: {how}; {done}. {words.command('run')} goes on where it stopped.", file=sys.stderr)
        return outcome.exit_code
    say_report(tracker.plan, words)
    for line in board.failures():
        say(printable(line.plain))
    for (arm, task), why in board.blocked.items():
        say(printable(f"{arm if task is None else f'{task}: {arm}'} is not reported: {why}."))
    if outcome.failed:
        say(f"{len(outcome.failed)} failed; the logs are {study.folder}/cells/*/log.txt. When the cause is mended,")
        say(f"{words.command('retry', FAILED)} tries them again.")
    return outcome.exit_code


def say(line: str) -> None:
    print(line, flush=True)
