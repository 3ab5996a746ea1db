"""What became of an attempt, by what lies on the disk."""

from dataclasses import dataclass
from pathlib import Path

from ..contracts.record import Record
from ..contracts.state_folder import latest_state
from .cell import Cell
from .cell_folder import LOG_FILE, record_mark, truth_of
from .engines.engine import JobState
from .failure import SUSPENDED, Failure, failure_of, tail
from .full_disk import has_no_room
from .history import AGAIN, FAILED, INTERRUPTED, History
from .results import RUN
from .study import Limits


@dataclass(frozen=True)
class End:
    """Of an attempt.

    Args:
        record: of the result, where there is one.
        held: some other process has the cell.
        failure: of an attempt without a result.
        progress: whether it has left a later training state than it began with.
    """

    record: Record | None = None
    held: bool = False
    failure: Failure | None = None
    progress: bool = False


def end_of(cell: Cell, folder: Path, history: History, state: JobState, timeout: float | None = None) -> End:
    """Args:
    cell: that was attempted.
    folder: of it.
    history: of it, the attempt's start included.
    state: how the engine saw it end.
    timeout: seconds after which it was stopped; None where it was not.
    """
    truth = truth_of(folder, cell)
    if truth.state == "done":
        return End(record=truth.record)
    if truth.state == "held":
        return End(held=True)
    record = truth.record if record_mark(folder) != history.record else None  # that of this attempt
    failure = failure_of(record, state, tail(folder / LOG_FILE, history.log), timeout)
    if not folder.is_dir():
        failure = Failure("infrastructure", "Its folder was removed while it ran.")
    elif failure.kind == "error" and has_no_room(folder):
        failure = Failure(SUSPENDED, f"{failure.message} The file system is full.")
    return End(failure=failure, progress=state_in(folder) not in (None, history.state))


def state_in(folder: Path) -> str | None:
    """Name of a cell's newest training state."""
    state = latest_state(folder / RUN)
    return None if state is None else state.name


def what_follows(failure: Failure, progress: bool, history: History, limits: Limits, asked: bool) -> str:
    """Kind of the event that the failure is.

    Args:
        failure: of the last attempt.
        progress: since it began, it has saved a later state: as often as that happens, it is tried again.
        history: of the cell, up to then.
        limits: of the study.
        asked: it ended since its controller did, or since that asked it to.
    """
    infrastructure = failure.kind == "infrastructure"
    if failure.kind == SUSPENDED or (infrastructure and asked):
        return INTERRUPTED
    if (infrastructure and progress) or failure.attempts_left(history.failures[failure.kind], limits):
        return AGAIN
    return FAILED
