"""One cell as a table shows it."""

from dataclasses import dataclass
from typing import Literal

from .cell import Cell, Stage
from .history import DONE, FAILED, LOST, RETRY, START, History

State = Literal["pending", "running", "done", "failed", "interrupted"]
STATES: tuple[State, ...] = ("pending", "running", "done", "failed", "interrupted")


@dataclass(frozen=True)
class Entry:
    """A row of the ledger.

    Args:
        id: of the cell.
        folder: its name under ``cells/``.
        arm: name.
        task: level of the tasks' factor.
        stage: of the cell.
        replicate: position of its seed triple.
        trial: of the search.
        repeat: of the same content.
        state: ``interrupted``: begun, and it will go on; ``failed``: for good, until the user asks for a retry.
        attempts: begun.
        failures: since the user last asked for a retry.
        reason: class of the last failure, empty where there was none.
        message: of that failure, one paragraph.
        host: of the last attempt.
        started: of the last attempt, seconds since 1970.
        ended: likewise.
        seconds: of all attempts whose end was seen.
    """

    id: str
    folder: str
    arm: str
    task: str | None
    stage: Stage
    replicate: int
    trial: int
    repeat: int
    state: State
    attempts: int = 0
    failures: int = 0
    reason: str = ""
    message: str = ""
    host: str = ""
    started: float | None = None
    ended: float | None = None
    seconds: float = 0.0

    @property
    def log(self) -> str:
        """Path of the log of all attempts, relative to the study."""
        return f"cells/{self.folder}/log.txt"

    @classmethod
    def of(cls, cell: Cell, folder: str, history: History) -> "Entry":
        """As its events say."""
        return cls(
            id=cell.id,
            folder=folder,
            arm=cell.arm,
            task=cell.task,
            stage=cell.stage,
            replicate=cell.replicate,
            trial=cell.trial,
            repeat=cell.repeat,
            state=_state(history),
            attempts=history.attempts,
            failures=sum(history.failures.values()),
            reason=history.reason,
            message=history.message,
            host=history.host,
            started=history.started,
            ended=history.ended,
            seconds=history.seconds,
        )


def _state(history: History) -> State:
    known: dict[str, State] = {START: "running", DONE: "done", FAILED: "failed", "": "pending", LOST: "pending"}
    if history.last == RETRY:
        return "interrupted" if history.attempts else "pending"
    return known.get(history.last, "interrupted")
