"""``finelab cell FOLDER``: one attempt of a study's cell. Engines start it; nobody has to type it."""

import os
import socket
import sys
import time
from pathlib import Path

from ..contracts.errors import UserError
from ..contracts.files import remove_folder, sweep
from ..contracts.parent_death import die_with_parent
from ..contracts.run_config import CONFIG_FILE, one_line
from ..contracts.run_lock import RunLock, is_locked
from ..contracts.state_folder import latest_state, verify
from ..contracts.state_folder import sweep as sweep_run
from ..studies.cell_file import read_cell
from ..studies.cell_folder import ends_the_same, record_in
from ..studies.failure import HELD
from ..studies.results import RUN, finished_record


def cell(arguments: list[str]) -> int:
    """One attempt.

    Args:
        arguments: the cell's folder, and ``--trust-module NAME`` as often as wanted.

    Returns:
        the exit status: that of fit, 0 of a cell that is done already, 75 where some other process works on it.

    Raises:
        UserError: the words are others, or the folder is no cell's.
    """
    die_with_parent()
    trust = arguments[1:]
    if not arguments or trust[::2] != ["--trust-module"] * (len(trust) // 2) or len(trust) % 2:
        raise UserError(f"cell takes a cell's folder and --trust-module NAME; seen: {one_line(arguments) or 'nothing'}")
    return run_cell(Path(arguments[0]), trust)


def run_cell(folder: Path, trust: list[str]) -> int:
    """In this process; see ``cell``. Its output is that of fit.

    Args:
        folder: of the cell.
        trust: words ``--trust-module NAME``.
    """
    content = read_cell(folder)
    lock = RunLock(folder)
    try:
        lock.acquire()
    except UserError as error:
        if not is_locked(folder):
            raise
        print(f"finelab: {error}", file=sys.stderr)
        return HELD
    try:
        sweep(folder)
        run = folder / RUN
        if is_locked(run):
            print(f"finelab: {run} is being written by another process.", file=sys.stderr)
            return HELD
        if finished_record(content, run) is not None:
            print(f"{run} is finished.")
            return 0
        return fit([*words_for(folder), *trust])
    finally:
        lock.release()


def words_for(folder: Path) -> list[str]:
    """Of the command that goes on with the run, or that begins it; what is left of one that cannot go on is removed."""
    run = folder / RUN
    if goes_on(run):
        return ["fit", "--resume", str(run), "--no-check"]
    if run.exists():
        remove_folder(run)
    return ["fit", "-c", str(folder / CONFIG_FILE), "--no-check", "--run.root", str(folder), "--run.name", RUN]


def goes_on(run: Path) -> bool:
    """Whether there is a training state that can be gone on from, and should be."""
    if not run.is_dir():
        return False
    sweep_run(run)
    state, record = latest_state(run), record_in(run)
    if state is None or ends_the_same(record) or not (run / CONFIG_FILE).is_file():
        return False
    try:
        verify(state)
    except UserError as error:
        print(f"finelab: {error} The cell starts again.", file=sys.stderr)
        return False
    return True


def fit(words: list[str]) -> int:
    from .cli import main

    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"--- {stamp} {socket.gethostname()} process {os.getpid()}: {one_line(('finelab', *words))}", flush=True)
    sys.argv[1:] = words  # Lightning starts the other ranks of a run with these
    return main(words)
