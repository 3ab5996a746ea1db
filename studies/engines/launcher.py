"""What the local engine starts cells with."""

from collections.abc import Mapping
from typing import Protocol

from .engine import Job


class Child(Protocol):
    """One process that runs a cell, the leader of a process group of its own."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """None while it runs; else its exit status, negative of the signal that killed it, and nothing of its group is
        left."""
        ...

    def terminate(self) -> None:
        """SIGTERM to the process, which saves and ends. Nothing happens where it has ended."""
        ...

    def kill(self) -> None:
        """SIGKILL to its whole group. Nothing happens where it has ended."""
        ...


class Launcher(Protocol):
    """Starts cells. All calls come from the thread that makes it."""

    def start(self, job: Job, environment: Mapping[str, str]) -> Child:
        """Start a job's child; its output goes to the end of ``job.folder / "log.txt"``.

        Args:
            job: to be run.
            environment: the whole of the child's, ``FINELAB_PARENT`` apart, which the launcher sets.

        Raises:
            OSError: the log cannot be written, or no process can be started.
        """
        ...

    def close(self) -> None:
        """Ends what the launcher itself has left running."""
        ...
