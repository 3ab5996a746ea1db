"""Which of finelab's own options a command takes, and with what values."""

import math
from pathlib import Path
from typing import Any

from ..contracts.errors import UserError

CELL = "cell"
CELLS = "cells"
"""These two are for the engines of a study, and not in the help."""
CHECK = "check"
COMPARE = "compare"
DATA_REPORT = "data report"
EXPORT = "export"
RESOLVE = "resolve"
RESUME = "--resume"
NO_CHECK = "--no-check"


def check_predict_options(command: str, source: str | None, target: str | None) -> None:
    """Refuse --input and --output elsewhere, and where they cannot be read or written.

    Raises:
        UserError: as said.
    """
    if command == DATA_REPORT and source is None:
        if target is not None and Path(target).is_file():
            raise UserError(f"--output {target} on the command line is a file; data report writes into a folder.")
        return
    if command == CHECK and source is None:
        if target is not None and Path(target).suffix != ".json":
            raise UserError(
                f"--output {target} on the command line must end in .json; check writes its findings there."
            )
        return
    if command != "predict":
        given = [name for name, value in (("--input", source), ("--output", target)) if value is not None]
        if given:
            raise UserError(f"{' and '.join(given)} on the command line belong to predict, not to {command}.")
        return
    if target is not None and target != "-" and Path(target).suffix not in (".jsonl", ".csv"):
        raise UserError(f"--output {target} on the command line must end in .jsonl or .csv, or be - for JSONL.")
    if source is not None and source != "-" and not Path(source).is_file():
        raise UserError(f"--input {source} on the command line does not exist; looked from {Path.cwd()}.")
    if target is not None and target != "-" and not Path(target).absolute().parent.is_dir():
        raise UserError(f"--output {target} cannot be written: the folder {Path(target).absolute().parent} is missing.")
    if target is not None and source not in (None, "-") and Path(target).exists() and Path(target).samefile(source):
        raise UserError(f"--output {target} on the command line is the file that --input reads; name another one.")


def check_resume(command: str, resumes: bool, target: str | None) -> None:
    """Refuse --resume where there is nothing to go on with.

    Raises:
        UserError: not predict, or an output that is no JSONL file.
    """
    if resumes and command not in ("predict", "fit"):
        raise UserError(f"{RESUME} on the command line belongs to fit and predict, not to {command}.")
    if resumes and command == "predict" and (target is None or Path(target).suffix != ".jsonl"):
        raise UserError(f"{RESUME} on the command line needs the JSONL file to go on with: --output FILE.jsonl.")


def check_fit_options(taken: dict[str, list[str]]) -> None:
    """Refuse what contradicts itself about where a fit starts.

    Raises:
        UserError: as said.
    """
    states, runs, allowed = taken["--ckpt_path"], taken[RESUME], taken["--allow-change"]
    if runs and states:
        raise UserError(
            f"{RESUME} {runs[-1]} and --ckpt_path {states[-1]} on the command line exclude each other: the one goes on "
            "in the run's own directory from its newest training state, the other starts a new run."
        )
    if allowed and not runs and not states:
        raise UserError(
            f"--allow-change {allowed[0]} on the command line belongs to {RESUME} RUN and to --ckpt_path STATE; a new "
            "run may have any configuration."
        )


def check_export_options(run: Path | None, source: str | None, target: str | None) -> None:
    """Refuse an export without a run or a new folder.

    Raises:
        UserError: as said.
    """
    if run is None or target is None:
        raise UserError("export on the command line needs both --run RUN and --output DIR.")
    if source is not None:
        raise UserError(f"--input {source} on the command line belongs to predict, not to {EXPORT}.")
    folder = Path(target).expanduser()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(
            f"--output {target} on the command line is there already and is never overwritten; name a new folder, or "
            "remove it yourself."
        )
    if not folder.absolute().parent.is_dir():
        raise UserError(f"--output {target} cannot be written: the folder {folder.absolute().parent} is missing.")


def export_numbers(command: str, tolerance: str | None, rows: str | None) -> dict[str, Any]:
    """The values of --tolerance and --rows, where they were given.

    Raises:
        UserError: no positive numbers, or another command.
    """
    found: dict[str, Any] = {}
    for name, text, kind in (("tolerance", tolerance, float), ("rows", rows, int)):
        if text is None:
            continue
        if command != EXPORT:
            raise UserError(f"--{name} on the command line belongs to {EXPORT}, not to {command}.")
        try:
            found[name] = kind(text)
        except ValueError:
            found[name] = -1
        if not 0 <= found[name] < math.inf or (kind is int and not found[name]):
            raise UserError(
                f"--{name} {text} on the command line must be a positive {'number' if kind is float else 'count'}."
            )
    return found
