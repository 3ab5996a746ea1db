"""Cells as jobs of a SLURM cluster, by submitit."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...contracts.errors import UserError
from .engine import Job, JobState
from .launcher import Launcher
from .options import package, whole
from .process_launcher import ProcessLauncher
from .remote_cell import RemoteCell
from .slurm_queue import GONE, RUNNING, WAITING, SlurmQueue

CLUSTERS = ("slurm", "local")
NOTICE = 90
"""Seconds before its end at which a job is told, so that its run saves."""
LAST_BREATH = 60.0
LATE_FILES = 30.0
"""Seconds that a result may take to be seen through a shared file system."""


@dataclass
class SlurmHandle:
    """One job.

    Args:
        cell: to be run.
        job: of submitit; None until the array that it belongs to is handed in.
        state: how it ended.
        gone: when SLURM was first seen to have done with it.
    """

    cell: RemoteCell
    job: Any = None
    state: JobState | None = None
    gone: float | None = None


class Slurm:
    """The engine of a SLURM cluster: what is submitted between two polls becomes one job array.

    The study's results have to lie on a file system that all nodes share, as does this Python. A job whose time is up,
    or which is preempted where the cluster sends its user signal first, saves, is requeued, and goes on from there. The
    child knows nothing of SLURM, so that Lightning neither takes it for a rank of the job nor requeues it once more.
    Whatever SLURM says, a cell is done when its record says so.

    Args:
        folder: of the study; submitit's files go to ``slurm`` in it.
        slots: most jobs in the queue or running at a time.
        threads: of one cell, and the processors of its job.
        gpus: of one cell.
        minutes: of one job, after which it is requeued.
        requeues: how often, of one cell (submitit's ``slurm_max_num_timeout``).
        sbatch: more of submitit's parameters, without their ``slurm_``: partition, account, qos, mem, setup, ...
        cluster: ``slurm``, or ``local`` for submitit's processes on this machine, as its tests use them.

    Raises:
        UserError: an option cannot be what it is.
    """

    def __init__(
        self,
        folder: Path,
        slots: int = 16,
        threads: int = 1,
        gpus: int = 0,
        minutes: int = 240,
        requeues: int = 20,
        sbatch: dict[str, Any] | None = None,
        cluster: str = "slurm",
    ) -> None:
        if cluster not in CLUSTERS:
            raise UserError(f"engine.cluster is {cluster!r}; there are {' and '.join(CLUSTERS)}.")
        if not isinstance(sbatch or {}, dict):
            raise UserError(f"engine.sbatch is {sbatch!r}; give names and values: {{partition: gpu, account: lab}}.")
        self.folder, self.cluster, self.sbatch = folder.absolute(), cluster, dict(sbatch or {})
        self._slots = whole("slots", slots, 1)
        self.threads, self.gpus = whole("threads", threads, 1), whole("gpus", gpus, 0)
        self.minutes, self.requeues = whole("minutes", minutes, 1), whole("requeues", requeues, 0)
        self.launcher: Launcher = ProcessLauncher()
        """Starts the children on the nodes."""
        self._executor: Any = None
        self._queue = SlurmQueue()
        self._handles: list[SlurmHandle] = []

    @property
    def slots(self) -> int:
        return self._slots

    def open(self) -> None:
        """Raises:
        UserError: submitit or SLURM is missing, or submitit knows a parameter not.
        """
        submitit = package("submitit", "slurm")
        if self.cluster == "slurm":
            self._queue.require()
        try:
            self._executor = submitit.AutoExecutor(
                folder=self.folder / "slurm" / "%j",
                cluster=self.cluster,
                **({f"{self.cluster}_max_num_timeout": self.requeues}),
            )
            self._executor.update_parameters(**self._parameters())
        except (RuntimeError, ValueError, TypeError, NameError) as error:
            raise UserError(f"engine.name is slurm, and submitit refuses what it is given: {error}") from error

    def _parameters(self) -> dict[str, Any]:
        shared = {"timeout_min": self.minutes, "name": self.folder.name}
        if self.cluster == "local":
            return {**shared, "gpus_per_node": self.gpus, **self.sbatch}
        own = {
            "slurm_cpus_per_task": self.threads,
            "slurm_array_parallelism": self._slots,
            "slurm_signal_delay_s": NOTICE,
            "slurm_additional_parameters": {"requeue": True},
            **({"slurm_gpus_per_node": self.gpus} if self.gpus else {}),
        }
        return {**shared, **own, **{f"slurm_{name}": value for name, value in self.sbatch.items()}}

    def submit(self, job: Job) -> SlurmHandle:
        whole_path = Job(job.folder.absolute(), job.label, job.trusted)
        cell = RemoteCell(whole_path, os.getcwd(), self.threads, self.gpus, launcher=self.launcher)
        handle = SlurmHandle(cell)
        self._handles.append(handle)
        return handle

    def poll(self, handles: Sequence[SlurmHandle]) -> list[JobState]:
        self._hand_in()
        return [handle.state or self._look(handle) for handle in handles]

    def _hand_in(self) -> None:
        new = [handle for handle in self._handles if handle.job is None]
        if not new:
            return
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        from .slurm_cell import SlurmCell

        try:
            jobs = self._executor.map_array(SlurmCell(), [handle.cell for handle in new])
        except (OSError, subprocess.SubprocessError, FailedJobError, FailedSubmissionError) as error:
            for handle in new:
                self._end(handle, JobState("lost", reason=f"It could not be submitted: {error}"))
            return
        for handle, job in zip(new, jobs, strict=True):
            handle.job = job

    def _look(self, handle: SlurmHandle) -> JobState:
        if handle.job.paths.result_pickle.exists():
            state = result_of(handle.job)
            if self.cluster == "slurm" and state.code != 0:
                self._queue.forget(handle.job.job_id)
            return self._end(handle, state)
        phase, host = self._seen(handle)
        if phase != GONE:
            handle.gone = None
            return JobState("waiting" if phase == WAITING else "running", host=host)
        now = time.monotonic()
        handle.gone = now if handle.gone is None else handle.gone
        if now - handle.gone < (0 if self.cluster == "local" else LATE_FILES):
            return JobState("running", host=host)
        return self._end(handle, JobState("lost", reason=f"Its job {handle.job.job_id} ended without a word ({host})."))

    def _seen(self, handle: SlurmHandle) -> tuple[str, str]:
        if self.cluster == "slurm":
            return self._queue.state(handle.job.job_id)
        running = handle.job.get_info()["jobState"] == "RUNNING"
        # once more: it may have been written since
        ended = not running and not handle.job.paths.result_pickle.exists()
        return (GONE, "killed") if ended else (RUNNING, socket.gethostname())

    def _end(self, handle: SlurmHandle, state: JobState) -> JobState:
        handle.state = state
        self._handles.remove(handle)
        return state

    def cancel(self, handle: SlurmHandle, kill: bool = False) -> None:
        if handle.state is not None:
            return
        if handle.job is None:
            self._end(handle, JobState("lost", reason="It was taken back before it was submitted."))
        elif self.cluster == "slurm":
            self._queue.cancel(handle.job.job_id, kill)
        elif kill:
            self._kill_local(handle.job)
        else:
            handle.job._process.send_signal(signal.SIGTERM)

    @staticmethod
    def _kill_local(job: Any) -> None:
        """Submitit gives its processes a second after SIGINT, and they take their children along."""
        if job._process.poll() is None:
            job.cancel()

    def close(self) -> None:
        for handle in list(self._handles):
            self.cancel(handle, kill=True)
        deadline = time.monotonic() + LAST_BREATH
        while self._handles and time.monotonic() < deadline:
            self.poll(list(self._handles))
            time.sleep(0.1)
        self._handles.clear()


def result_of(job: Any) -> JobState:
    """What a job has written."""
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        ended = job.result()
    except (FailedJobError, UncompletedJobError) as error:
        said = [line.strip() for line in str(error).splitlines() if line.strip(" -")]
        return JobState("lost", reason=f"Its job {job.job_id}: {said[-1] if said else type(error).__name__}")
    return JobState("exited", ended.code, ended.host)
