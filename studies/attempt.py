"""One attempt of a cell, from its start to its end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cell import Cell


@dataclass
class Attempt:
    """What a controller knows of a cell that it has handed to an engine.

    Args:
        cell: that is run.
        folder: of it.
        handle: of the engine.
        since: when it was first seen running, by the monotonic clock; None while it waits in the engine's queue.
        told: when it was asked to end.
        killed: whether SIGKILL was sent.
        timed_out: whether that was because of its time.
    """

    cell: Cell
    folder: Path
    handle: Any
    since: float | None = None
    told: float | None = None
    killed: bool = False
    timed_out: bool = False

    def seconds(self, now: float) -> float:
        """That it has run for."""
        return 0.0 if self.since is None else now - self.since
