"""How the processes of a distributed run end together."""

import atexit
import subprocess
from contextlib import suppress

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from ..contracts.interruption import Interrupted
from ..models.non_finite_error import NonFiniteError

PATIENCE = 60
"""Seconds that the other ranks have to end by themselves."""


class RanksEnd(Callback):
    """Where all ranks stop by common decision, none goes before the first one has written its record.

    A launcher ends every rank as soon as one has ended with another code than 0: Lightning's own with SIGKILL, within
    five seconds. Has to stand behind whatever the first rank writes of such an end.
    """

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, Interrupted | NonFiniteError) or trainer.world_size == 1:
            return
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher) and launcher.procs:
            atexit.register(await_ranks, [*launcher.procs])
            launcher.procs.clear()  # the list that Lightning's observer watches
        trainer.strategy.barrier()


def await_ranks(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.kill()
