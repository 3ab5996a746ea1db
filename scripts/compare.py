"""``finelab compare``: what runs left behind, side by side; without torch."""

import shutil
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from ..contracts.errors import UserError
from ..contracts.files import write_atomically
from .options import COMPARE

OUTPUT = "--output"
NARROW, WIDE = 60, 120


def compare(words: Sequence[str]) -> None:
    """Print the comparison and write the files that are asked for.

    Args:
        words: of the command line, after the command: runs, and ``--output FILE`` as often as wanted.

    Raises:
        UserError: whatever the user can put right.
    """
    places, targets = sort_words(words)
    from rich.console import Console  # and what reads Parquet: not before the words are known to be right

    from .comparison.compared_run import read_runs
    from .comparison.comparison import Comparison
    from .comparison.files import WRITERS
    from .comparison.terminal import shown

    runs = read_runs(places)
    for target in targets:
        check_target(target, list(WRITERS), [run.directory for run in runs])
    comparison = Comparison.of(runs)
    width = min(max(shutil.get_terminal_size((100, 40)).columns, NARROW), WIDE)
    Console(width=width).print(shown(comparison, width), crop=False)
    for target in targets:
        try:
            write_atomically(target, WRITERS[target.suffix](comparison))
        except OSError as error:
            raise UserError(f"{OUTPUT} {target} could not be written ({error.strerror}).") from error
        print(f"written to {target}")


def sort_words(words: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Runs, and the files of ``--output``.

    Raises:
        UserError: another option, or one without its value.
    """
    places: list[str] = []
    targets: list[Path] = []
    left = deque(words)
    while left:
        word = left.popleft()
        name, equals, value = word.partition("=")
        if name == OUTPUT:
            value = value if equals else left.popleft() if left else ""
            if not value or (not equals and value.startswith("--")):
                raise UserError(f"{OUTPUT} on the command line needs a value: FILE.json, FILE.md or FILE.csv.")
            targets.append(Path(value).expanduser())
        elif word.startswith("-"):
            raise UserError(
                f"{word} on the command line is no option of {COMPARE}, which takes runs and {OUTPUT} FILE: finelab "
                "compare RUN RUN ..."
            )
        else:
            places.append(word)
    return places, targets


def check_target(target: Path, endings: Sequence[str], runs: Sequence[Path]) -> None:
    """Refuse what cannot be written before anything is computed, and what a run would lose.

    Raises:
        UserError: another ending, a folder that is missing, or a file that a compared run has left.
    """
    if target.suffix not in endings:
        raise UserError(
            f"{OUTPUT} {target} on the command line must end in {', '.join(endings[:-1])} or {endings[-1]}."
        )
    if target.is_dir() or not target.absolute().parent.is_dir():
        what = "it is a folder" if target.is_dir() else f"the folder {target.absolute().parent} is missing"
        raise UserError(f"{OUTPUT} {target} cannot be written: {what}.")
    if any(run.resolve() in target.resolve().parents for run in runs):
        raise UserError(
            f"{OUTPUT} {target} lies in a run that is compared, which is left as it is; name another place."
        )
