"""The protocol of an engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

Phase = Literal["waiting", "running", "exited", "lost"]


@dataclass(frozen=True)
class Job:
    """One attempt of a cell.

    Args:
        folder: of the cell; it holds ``cell.json`` and ``config.yaml``, and its child writes ``log.txt`` and ``run/``.
        label: what people call it.
        trusted: packages that its configuration may name beside the allowed ones.
    """

    folder: Path
    label: str
    trusted: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobState:
    """What an engine knows of a job; never whether the cell is done: that a valid record says.

    Args:
        phase: ``lost``: the engine's own machinery failed (a node died), which is nobody's code.
        code: exit status of the child, negative of the signal that killed it; None while it runs and where unknown.
        host: where it runs.
        reason: of a lost one.
    """

    phase: Phase
    code: int | None = None
    host: str = ""
    reason: str = ""


class Engine(Protocol):
    """Where cells run. ``open`` before the first job, ``close`` after the last; all calls from one thread."""

    def open(self) -> None:
        """Raises:
        UserError: it cannot be used: a package is missing, no cluster answers, no node can hold a cell.
        """
        ...

    @property
    def slots(self) -> int:
        """Most jobs that run at a time."""
        ...

    def submit(self, job: Job) -> Any:
        """Start it, or put it into the engine's queue; returns a handle."""
        ...

    def poll(self, handles: Sequence[Any]) -> list[JobState]:
        """Of every handle, in order, at once: nothing waits."""
        ...

    def cancel(self, handle: Any, kill: bool = False) -> None:
        """SIGTERM (the run saves and ends), or SIGKILL."""
        ...

    def close(self) -> None:
        """No job is left behind."""
        ...
