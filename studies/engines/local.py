"""Cells as child processes of this one, as many at a time as the machine has room for."""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...contracts.errors import UserError
from .child_environment import child_environment
from .engine import Job, JobState
from .launcher import Child, Launcher
from .process_launcher import ProcessLauncher

DEVICES = "CUDA_VISIBLE_DEVICES"
GIGABYTES_A_CELL = 4
"""Of memory, for the number of slots where the user gives none."""


@dataclass
class Running:
    """One child and its place.

    Args:
        child: the process.
        place: number of its slot.
    """

    child: Child
    place: int


class Local:
    """The engine of one machine.

    Args:
        slots: most cells at a time. By default those that the GPUs hold, or else one for every ``threads`` cores, and
            no more than one for every 4 GB of memory.
        threads: of one cell. The default, 1, gives most cells an hour, and the same numbers on every machine: sums over
            more threads are made in another order.
        gpus: of one cell. By default 1 where this machine has any, else 0; of 0 a cell sees none.
        cells_per_gpu: cells that share one GPU. Their memory and time are then those of both.
        launcher: starts the children.

    Raises:
        UserError: an option is no number that it can be.
    """

    def __init__(
        self,
        slots: int | None = None,
        threads: int = 1,
        gpus: int | None = None,
        cells_per_gpu: int = 1,
        launcher: Launcher | None = None,
    ) -> None:
        for name, value, least in (
            ("slots", slots, 1),
            ("threads", threads, 1),
            ("gpus", gpus, 0),
            ("cells_per_gpu", cells_per_gpu, 1),
        ):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise UserError(f"engine.{name} is {value!r}; give a whole number, at least {least}.")
        visible = visible_gpus()
        self.threads = threads
        self.gpus = min(1, len(visible)) if gpus is None else gpus
        if self.gpus > len(visible):
            raise UserError(
                f"engine.gpus is {self.gpus} and this machine shows {len(visible)} of them; ask for fewer, or set "
                f"{DEVICES}."
            )
        if self.gpus > 1 and cells_per_gpu > 1:
            raise UserError(
                f"engine.gpus {self.gpus} and engine.cells_per_gpu {cells_per_gpu} exclude each other: a GPU is either "
                "one of several of a cell, or shared by several cells."
            )
        self._shares = device_shares(visible, self.gpus, cells_per_gpu)
        room = len(self._shares) if self.gpus else room_for(threads)
        if slots is not None and self.gpus and slots > room:
            raise UserError(
                f"engine.slots is {slots}, and {len(visible)} GPUs with engine.gpus {self.gpus} and "
                f"engine.cells_per_gpu {cells_per_gpu} hold {room} cells; lower engine.slots or raise "
                "engine.cells_per_gpu."
            )
        self._slots = room if slots is None else slots
        self._launcher: Launcher = launcher or ProcessLauncher()
        self._free = list(range(self._slots))
        self._running: dict[int, Running] = {}
        self._host = socket.gethostname()

    @property
    def slots(self) -> int:
        return self._slots

    def open(self) -> None:
        """Nothing is started before the first cell."""

    def submit(self, job: Job) -> Running:
        place = self._free[0]
        devices = self._shares[place] if self.gpus else ""
        child = self._launcher.start(job, child_environment(self.threads, devices))
        self._free.remove(place)
        running = self._running[child.pid] = Running(child, place)
        return running

    def poll(self, handles: Sequence[Running]) -> list[JobState]:
        return [self._state(handle) for handle in handles]

    def cancel(self, handle: Running, kill: bool = False) -> None:
        handle.child.kill() if kill else handle.child.terminate()

    def close(self) -> None:
        for running in self._running.values():
            running.child.kill()
        for running in list(self._running.values()):
            while self._state(running).code is None:  # SIGKILL: it is a matter of milliseconds
                time.sleep(0.005)
        self._launcher.close()

    def _state(self, running: Running) -> JobState:
        code = running.child.poll()
        if code is None:
            return JobState("running", host=self._host)
        if self._running.pop(running.child.pid, None) is not None:
            self._free.append(running.place)
            self._free.sort()
        return JobState("exited", code, self._host)


def visible_gpus() -> list[str]:
    """As ``CUDA_VISIBLE_DEVICES`` lists them; without it, all that the driver has."""
    said = os.environ.get(DEVICES)
    if said is not None:
        return [name.strip() for name in said.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]


def device_shares(visible: Sequence[str], gpus: int, cells_per_gpu: int) -> list[str]:
    """What each slot sees: the first cells are spread over the GPUs before any of these is shared."""
    if not gpus:
        return []
    groups = [",".join(visible[start : start + gpus]) for start in range(0, len(visible) - gpus + 1, gpus)]
    return groups * cells_per_gpu


def room_for(threads: int) -> int:
    """Cells that the processor and the memory hold, at least one."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (GIGABYTES_A_CELL * 2**30)
    return max(1, min(cores() // threads, memory))


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if "sched_getaffinity" in vars(os) else os.cpu_count() or 1
