"""``finelab study report``: the results that are there, as a page; nothing is run."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from ...contracts.errors import UserError
from ...contracts.run_config import printable
from ...contracts.run_lock import is_locked
from ...studies.analysis.analyse import analyse
from ...studies.analysis.analysis import Analysis, Unfinished
from ...studies.analysis.material import unfinished
from ...studies.books import Books
from ...studies.cell import Cell
from ...studies.entry import Entry
from ...studies.event_log import Event
from ...studies.history import START
from ...studies.plan import PLAN_FILE, Plan
from ...studies.report.write import write_report
from ...studies.results import read_results
from ...studies.stages import due
from .found import find_study
from .words import Words

PLANNED = "plan"
"""The event of a controller's start, with the digest of finelab's own source."""


def report(words: Words) -> int:
    """Write it again.

    Returns:
        0.

    Raises:
        UserError: the study was never run.
    """
    plan = planned(words)
    say_report(plan, words)
    return 0


def planned(words: Words) -> Plan:
    """The plan as it was last run.

    Raises:
        UserError: it never was.
    """
    study = find_study(words)
    if not (study.folder / PLAN_FILE).is_file():
        raise UserError(
            f"{study.folder} holds no {PLAN_FILE}, so nothing of this study has been run; {words.command('run')} does."
        )
    plan = Plan.load(study.folder)
    return replace(plan, study=replace(plan.study, root=study.root, name=study.name))


def say_report(plan: Plan, words: Words) -> None:
    """Write the report and print what it says first.

    Args:
        plan: of the study.
        words: with which the user named it.
    """
    folder = plan.study.folder
    analysis = analysed(plan)
    console = Console(highlight=False)
    if not any(row.done for row in analysis.arms):
        console.print(Text(f"No reported cell is done yet; {words.command('run')} goes on."), soft_wrap=True)
    page = write_report(analysis, folder)
    for paragraph in analysis.verdict:
        console.print(Padding(Text(printable(paragraph)), (0, 0, 1, 0)))
    if analysis.unfinished:
        console.print(Text(said_of_missing(analysis.unfinished), style="yellow"))
    print(f"report: {page}")


def said_of_missing(missing: Iterable[Unfinished]) -> str:
    """How many cells of which state have no result."""
    counts: dict[str, int] = {}
    for cell in missing:
        counts[cell.state] = counts.get(cell.state, 0) + 1
    told = ", ".join(f"{number} {state}" for state, number in counts.items())
    return f"Missing, and shown as missing: {told}."


def analysed(plan: Plan) -> Analysis:
    """What may be said of the results that are there."""
    folder = plan.study.folder
    books = Books(folder, writes=False)
    failed = {entry.id for entry in books.entries.values() if entry.state == "failed"}
    known = due(plan, books.finished, failed)
    results = read_results(folder, known.planned)
    done = {result.cell.id for result in results}
    left = [cell for cell in known.planned if cell.id not in done]
    goes_on = is_locked(folder)
    lacking = [without_result(cell, books.entries.get(cell.id), goes_on) for cell in left]
    return analyse(plan, results, lacking, codes_of(books.log.read(), done))


def without_result(cell: Cell, entry: Entry | None, goes_on: bool) -> Unfinished:
    """Args:
    cell: that is not done.
    entry: what is known of it.
    goes_on: whether a controller runs.
    """
    if entry is None:
        return unfinished(cell, "pending")
    state = "interrupted" if entry.state == "running" and not goes_on else entry.state
    return unfinished(cell, state, entry.reason, entry.message, entry.attempts, entry.folder)


def codes_of(events: Iterable[Event], cells: Collection[str]) -> set[str]:
    """Digests of finelab's own source with which these cells were started."""
    codes: dict[str, str] = {}
    code = ""
    for happened in events:
        if happened["event"] == PLANNED:
            code = str(happened.get("code", ""))
        elif happened["event"] == START:
            codes[str(happened.get("cell"))] = code
    return {codes[name] for name in cells if codes.get(name)}
