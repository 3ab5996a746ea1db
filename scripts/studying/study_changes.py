"""What a study file says now and did not when the study was last run."""

import difflib
from collections.abc import Callable
from pathlib import Path

from ...contracts.run_config import printable
from ...studies.books import Books
from ...studies.plan import Plan
from ...studies.stages import due

STUDY_FILE = "study.yaml"


def show_changes(plan: Plan, say: Callable[[str], object]) -> None:
    """The difference of the two texts, what is there already, and what is there and no longer asked for.

    Args:
        plan: of the study as it is now.
        say: takes one line.
    """
    folder = plan.study.folder
    if not folder.is_dir():
        return
    for line in difference(folder, plan.study.text):
        say(printable(line))
    finished = Books(folder, writes=False).finished
    planned = {cell.id for cell in due(plan, finished).planned}
    if used := len(planned & finished.keys()):
        say(f"{used} of the cells are done already and are not run again.")
    if unused := len(finished.keys() - planned):
        say(
            f"{unused} finished cells in {folder / 'cells'} belong to the study no longer (another configuration, data "
            "or package version); they stay there and are not used."
        )


def difference(folder: Path, text: str) -> list[str]:
    """Lines of a unified diff; none where nothing has changed or nothing was run."""
    try:
        before = (folder / STUDY_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    if before == text:
        return []
    lines = difflib.unified_diff(
        before.splitlines(), text.splitlines(), "when it was last run", "now", lineterm="", n=1
    )
    return ["The study file has changed:", *(f"  {line}" for line in lines)]
