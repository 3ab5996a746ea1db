"""What a SLURM job runs: one cell, which the next job goes on with when this one's time is up or is taken from it."""

import signal
import time

from submitit.core.utils import DelayedSubmission
from submitit.helpers import Checkpointable

from .launcher import Child
from .remote_cell import Ended, RemoteCell, StopFlag

SAVING = 60.0
"""Seconds for a run's last step and its state; the job is told of its end earlier than that."""


class AskedOnce:
    """A child that hears one SIGTERM at most: a second one would end it before it has saved.

    Args:
        child: as it was started.
    """

    def __init__(self, child: Child) -> None:
        self._child = child
        self._asked = False

    @property
    def pid(self) -> int:
        return self._child.pid

    def poll(self) -> int | None:
        return self._child.poll()

    def terminate(self) -> None:
        if not self._asked:
            self._asked = True
            self._child.terminate()

    def kill(self) -> None:
        self._child.kill()


class SlurmCell(Checkpointable):
    """Submitit calls it with a cell, and calls ``checkpoint`` in the handler of the signal before the job's end."""

    def __init__(self) -> None:
        self._child: Child | None = None

    def __call__(self, cell: RemoteCell) -> Ended:
        with StopFlag(signal.SIGTERM, signal.SIGINT) as stop:
            return cell.run(stop, self._watch)

    def _watch(self, child: Child) -> Child:
        self._child = AskedOnce(child)
        return self._child

    def checkpoint(self, cell: RemoteCell) -> DelayedSubmission:
        """The run saves and ends before submitit puts the job back into the queue."""
        if self._child is not None:
            self._child.terminate()
            deadline = time.monotonic() + SAVING
            while self._child.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            self._child.kill()
        return DelayedSubmission(SlurmCell(), cell)
