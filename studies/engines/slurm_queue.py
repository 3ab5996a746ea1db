"""SLURM's queue as ``squeue`` shows it: accounting, which ``sacct`` needs, is not everywhere."""

import shutil
import subprocess
import time

from ...contracts.errors import UserError

WAITING, RUNNING, GONE = "waiting", "running", "gone"
IN_QUEUE = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
AT_WORK = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STAGE_OUT", "SIGNALING", "RESIZING", "STOPPED")
EVERY = 3.0
"""Seconds between two questions, one for all jobs."""
PATIENCE = 60.0


class SlurmQueue:
    """What the user's jobs are doing."""

    def __init__(self) -> None:
        self._asked = float("-inf")
        self._jobs: dict[str, tuple[str, str]] = {}

    def require(self) -> None:
        """Raises:
        UserError: this machine cannot submit to a SLURM cluster.
        """
        missing = [name for name in ("sbatch", "squeue", "scancel", "srun") if shutil.which(name) is None]
        if missing:
            raise UserError(
                f"engine.name is slurm, and {', '.join(missing)} cannot be found: start the study on a machine that "
                "submits to the cluster, or set engine.cluster: local to try it here."
            )

    def state(self, job: str) -> tuple[str, str]:
        """Of one job: ``waiting``, ``running`` or ``gone``, and its host, or else SLURM's word for it."""
        now = time.monotonic()
        if now - self._asked >= EVERY:
            self._ask()
            self._asked = now
        state, host = self._jobs.get(job, ("not in the queue", ""))
        if state in IN_QUEUE:
            return WAITING, host
        return (RUNNING, host) if state in AT_WORK else (GONE, state)

    def _ask(self) -> None:
        """An answer that does not come leaves what was known: the controller of a busy cluster is often slow."""
        command = ["squeue", "--me", "--array", "--noheader", "--states=all", "--format=%i|%T|%N"]
        try:
            said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return
        parts = [line.split("|") for line in said.splitlines() if line.count("|") == 2]
        self._jobs = {job: (state, host) for job, state, host in parts}

    def cancel(self, job: str, kill: bool) -> None:
        """A waiting one is taken out of the queue; a running one is sent SIGTERM, or SIGKILL."""
        self._asked = float("-inf")
        waits = self.state(job)[0] == WAITING
        how = [] if waits else ["--signal=KILL" if kill else "--signal=TERM"]
        subprocess.run(["scancel", *how, job], capture_output=True, timeout=PATIENCE, check=False)

    def forget(self, job: str) -> None:
        """One that has ended of a signal may have been requeued by SLURM itself, while the study tries it again."""
        subprocess.run(["scancel", "--quiet", job], capture_output=True, timeout=PATIENCE, check=False)
