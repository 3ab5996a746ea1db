"""``finelab study retry``: failed cells once more."""

from ...studies.ledger import journal_for
from ...studies.retry import retry as allow
from .found import find_study
from .labels import label
from .running import run, say
from .words import Words


def retry(words: Words) -> int:
    """Forget the failures of the cells that are named, or of all, and run the study.

    Returns:
        As ``run``.

    Raises:
        UserError: a cell is not known or has not failed, another controller runs the study, or it cannot be run.
    """
    study = find_study(words)
    chosen = allow(study.folder, words.cells, journal_for(study.engine.name))
    if not chosen:
        say(f"No cell of {study.name} has failed.")
    for entry in chosen:
        say(f"again: {label(entry, study)} ({entry.id}), whose log is {study.folder / entry.log}")
    return run(words)
