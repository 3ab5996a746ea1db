"""Going on with a run, and starting one from a training state: what can be refused before torch is imported."""

import difflib
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ..contracts.errors import UserError
from ..contracts.record import RECORD_FILE, read_record
from ..contracts.run_config import CONFIG_FILE, one_line
from ..contracts.run_lock import RunLock, is_locked
from ..contracts.state_folder import BEST, CHECKPOINTS, latest_state, read_manifest, sweep, verify
from .run_directory import is_first_rank

WEIGHTS = Path(CHECKPOINTS) / BEST


def run_to_resume(value: str) -> Path:
    """The directory of ``fit --resume``.

    Raises:
        UserError: no such directory, or one without a configuration.
    """
    run = Path(value).expanduser()
    if (run / CONFIG_FILE).is_file():
        return run
    what = f"has no {CONFIG_FILE}" if run.is_dir() else "does not exist"
    raise UserError(f"--resume {value} on the command line is no run: it {what}; {near_run(run)}")


def near_run(run: Path) -> str:
    """The end of the paragraph about a run that is not there."""
    folder = run.parent if run.parent.is_dir() else Path("runs")
    others = [path for path in folder.iterdir() if path.name != run.name] if folder.is_dir() else []
    names = [path.name for path in others if (path / CONFIG_FILE).exists()]
    near = difflib.get_close_matches(run.name, names, 1)
    return f"did you mean {folder / near[0]}?" if near else f"give a run's directory; looked from {Path.cwd()}."


def held(run: Path | None) -> AbstractContextManager[object]:
    """The lock of the run that goes on, from before it is looked at; other ranks rely on the first one's."""
    return RunLock(run) if run is not None and is_first_rank() else nullcontext()


def check_run(run: Path) -> None:
    """Clear up behind a process that was killed, and refuse what cannot go on.

    Raises:
        UserError: the run is finished, never got to training, or its training state is damaged or of another format.
    """
    sweep(run)
    state = latest_state(run)
    if status_of(run) == "finished":
        raise UserError(
            f"{run} is finished ({RECORD_FILE} is valid and says so), so that there is nothing to go on with. Start a "
            "new run; finelab test, predict and export --run take the weights of this one."
        )
    if state is None:
        raise UserError(
            f"{run} has no training state, since it was stopped before training began; {how_to_start_again(run)}, or "
            "remove it."
        )
    verify(state)


def how_to_start_again(run: Path) -> str:
    return f"start it again with {one_line(('finelab', 'fit', '-c', str(run / CONFIG_FILE), '--run.name', 'NAME'))}"


def started_elsewhere(state: Path | None) -> str:
    """The end of a paragraph: where a run was started whose configuration names paths relative to that folder."""
    folder = None if state is None else read_manifest(state).get("folder")
    if not isinstance(folder, str) or Path(folder) == Path.cwd():
        return ""
    return (
        f" The run was trained from the folder {folder}, and relative paths in its configuration start from where you "
        f"are ({Path.cwd()}): go there, or give them anew."
    )


def state_to_start_from(value: str) -> Path:
    """The folder of ``fit --ckpt_path``.

    Raises:
        UserError: it is no training state, or a damaged one.
    """
    state = Path(value).expanduser()
    (verify if is_first_rank() else read_manifest)(state)
    return state


def status_of(run: Path) -> str | None:
    """What a valid record says; None where there is none."""
    try:
        return read_record(run).status
    except UserError:
        return None


def say_unfinished(run: Path) -> None:
    """One line on stderr where the weights are not those of a finished run."""
    status = status_of(run)
    if status == "finished":
        return
    how = "is still being trained" if is_locked(run) else f"is not finished ({status or 'it has no valid record'})"
    go_on = "" if is_locked(run) or latest_state(run) is None else f"; {how_to_go_on(run)} goes on with it"
    print(f"finelab: {run} {how}: these are its best weights so far{go_on}.", file=sys.stderr)


def put_back(run: Path) -> None:
    """Let ``checkpoints/best`` be there again after a kill between the two renames that replace it."""
    if not (run / WEIGHTS).exists() and (run / CHECKPOINTS).is_dir() and not is_locked(run):
        with RunLock(run):
            sweep(run)


def how_to_go_on(run: Path, trusted: Sequence[str] = ()) -> str:
    """The command that goes on with a run; what it trusts stands in no configuration."""
    trust = [word for name in trusted for word in ("--trust-module", name)]
    return one_line(["finelab", "fit", "--resume", str(run), *trust])
