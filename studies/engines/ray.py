"""Cells on the nodes of a Ray cluster that is there already."""

import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...contracts.errors import UserError
from ...contracts.run_lock import LOCK_FILE
from .engine import Job, JobState
from .launcher import Launcher
from .options import number, package, texts, whole
from .process_launcher import ProcessLauncher
from .ray_probe import Seen, complaint, versions
from .ray_task import probe_node, run_cell
from .remote_cell import RemoteCell

ADDRESS = "RAY_ADDRESS"
NOT_THERE = 5.0
"""Seconds until an address that does not answer is given up."""
SLOW_NODE = 120.0
STRANDED = 60.0
"""Seconds without any node that could hold a cell until waiting ones are lost."""
LAST_BREATH = 10.0


@dataclass
class RayHandle:
    """One task.

    Args:
        ref: Ray's reference to its result.
        folder: of the cell.
        before: what the cell's lock said when it was submitted.
        state: how it ended.
    """

    ref: Any
    folder: Path
    before: str
    state: JobState | None = None
    killed: bool = field(default=False)


class Ray:
    """The engine of a Ray cluster. It starts none, and it uses neither Ray Tune nor Ray Train.

    A cell is one task, whose process starts the cell's child; retries are the study's. The study's results have to lie
    on a file system that all nodes share. Ray's own rules about who may connect are left as they are: with its tokens,
    all nodes and this machine need the same one.

    Args:
        folder: of the study.
        address: ``HOST:PORT`` of the cluster's head, or ``auto`` for the one that runs on this machine; without it
            ``RAY_ADDRESS`` counts.
        cpus: that Ray sets aside for a cell; by default as many as ``threads``.
        gpus: likewise; below 1 cells share one, whose memory and time are then those of all of them.
        threads: of one cell; with another number sums are made in another order.
        slots: most cells at a time; by default as many as the nodes hold.
        environment: variables for the cells, which else have those of the node's Ray.

    Raises:
        UserError: an option cannot be what it is.
    """

    def __init__(
        self,
        folder: Path,
        address: str | None = None,
        cpus: float | None = None,
        gpus: float = 0,
        threads: int = 1,
        slots: int | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.address = self._existing(address)
        self.threads = whole("threads", threads, 1)
        self.need = {
            "CPU": number("cpus", threads if cpus is None else cpus, 0.01),
            "GPU": number("gpus", gpus, 0),
        }
        if self.need["GPU"] > 1 and self.need["GPU"] % 1:
            raise UserError(f"engine.gpus is {gpus}; a cell has a share of one GPU or a whole number of them.")
        self._limit = None if slots is None else whole("slots", slots, 1)
        self.environment = texts("environment", environment or {})
        self.launcher: Launcher = ProcessLauncher()
        """Starts the children on the nodes."""
        self._slots = 0
        self._ray: Any = None
        self._ours = False
        self._task: Any = None
        self._handles: list[RayHandle] = []
        self._looked = self._fitted = 0.0

    @staticmethod
    def _existing(address: str | None) -> str:
        given = address or os.environ.get(ADDRESS, "")
        if not given or given == "local" or "://" in given:
            said = f"engine.address is {address!r}" if address else f"{ADDRESS} is {given!r}" if given else ""
            raise UserError(
                f"{said or f'engine.name is ray, and neither engine.address nor {ADDRESS} says where'}; finelab starts "
                "no cluster: give the HOST:PORT of the head of one that runs (ray start --head prints it), or auto for "
                "the one on this machine."
            )
        return given

    @property
    def slots(self) -> int:
        """Before it is opened, those that were asked for, or 1: nobody has asked the cluster yet."""
        return self._slots or self._limit or 1

    def open(self) -> None:
        """Connect, and look whether every node that can hold a cell would give what this machine gives.

        Raises:
            UserError: no cluster answers there, no node can hold a cell, or a node does not see the results' folder or
                has other versions.
        """
        ray = self._ray = package("ray", "ray")
        self._ours = not ray.is_initialized()
        if self._ours:
            self._connect(ray)
        try:
            nodes = self._holding()
            if not nodes:
                raise UserError(self._infeasible())
            self._inspect(nodes)
        except BaseException:
            self.close()
            raise
        room = sum(self._room(node) for node in nodes)
        self._slots = room if self._limit is None else min(self._limit, room)
        self._task = ray.remote(max_retries=0)(run_cell)
        self._fitted = time.monotonic()

    def _connect(self, ray: Any) -> None:
        try:
            if self.address != "auto":
                host, _, port = self.address.rpartition(":")
                socket.create_connection((host, int(port)), NOT_THERE).close()
            with own_handlers():
                ray.init(
                    address=self.address,
                    namespace=self.folder.name,
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                )
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"engine.address is {self.address}, where no Ray cluster could be joined: {first_line(error)}. Start "
                "one with ray start --head and the versions of Python and Ray that are here, and give the address that "
                "it prints."
            ) from error

    def _holding(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"] and self._room(node)]

    def _room(self, node: dict[str, Any]) -> int:
        has = node["Resources"]
        return int(min(has.get(name, 0.0) / need for name, need in self.need.items() if need) + 1e-9)

    def _infeasible(self) -> str:
        has = "; ".join(
            f"{node['NodeManagerHostname']}: "
            + ", ".join(f"{node['Resources'].get(name, 0):g} {name}" for name in self.need)
            for node in self._ray.nodes()
            if node["Alive"]
        )
        need = ", ".join(f"{amount:g} {name}" for name, amount in self.need.items() if amount)
        return (
            f"A cell asks for {need} (engine.cpus, engine.gpus), and no node of the Ray cluster has that: {has}. Ray "
            "would wait for ever; ask for less, or add a node."
        )

    def _inspect(self, nodes: Sequence[dict[str, Any]]) -> None:
        ray, cwd = self._ray, os.getcwd()
        self.folder.mkdir(parents=True, exist_ok=True)
        marker = self.folder / f".seen-by-nodes-{secrets.token_hex(4)}"
        marker.write_text(secrets.token_hex(8))
        here = Seen(socket.gethostname(), marker.read_text(), True, versions())
        near = package("ray.util.scheduling_strategies", "ray").NodeAffinitySchedulingStrategy
        probe = ray.remote(max_retries=0)(probe_node)
        try:
            asked = [
                probe.options(num_cpus=0, scheduling_strategy=near(node["NodeID"], soft=False)).remote(str(marker), cwd)
                for node in nodes
            ]
            for node, ref in zip(nodes, asked, strict=True):
                host = node["NodeManagerHostname"]
                try:
                    why = complaint(ray.get(ref, timeout=SLOW_NODE), here)
                except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
                    continue  # it has died since Ray listed it, and will run nothing
                except ray.exceptions.RayError as error:
                    why = f"finelab cannot be run there: {last_line(error)}"
                if why is not None:
                    raise UserError(f"engine.name is ray, and cells cannot be run on its node {host}: {why}.")
        finally:
            marker.unlink(missing_ok=True)

    def submit(self, job: Job) -> RayHandle:
        cell = RemoteCell(
            Job(job.folder.absolute(), job.label, job.trusted),
            os.getcwd(),
            self.threads,
            self.need["GPU"],
            self.environment,
            self.launcher,
        )
        task = self._task.options(
            name=job.label, num_cpus=self.need["CPU"], num_gpus=self.need["GPU"], scheduling_strategy="SPREAD"
        )
        handle = RayHandle(task.remote(cell), job.folder, holder(job.folder))
        self._handles.append(handle)
        return handle

    def poll(self, handles: Sequence[RayHandle]) -> list[JobState]:
        open_ = [handle for handle in handles if handle.state is None]
        ready = set()
        if open_:
            refs = [handle.ref for handle in open_]
            ready = set(self._ray.wait(refs, num_returns=len(refs), timeout=0)[0])
        for handle in open_:
            if handle.ref in ready:
                handle.state = self._end(handle)
        states = [handle.state or self._meanwhile(handle) for handle in handles]
        if any(state.phase == "waiting" for state in states):
            self._give_up_stranded(handles, states)
        return states

    def _end(self, handle: RayHandle) -> JobState:
        errors = self._ray.exceptions
        self._handles.remove(handle)
        try:
            ended = self._ray.get(handle.ref)
        except errors.TaskCancelledError:
            if handle.killed:
                return JobState("exited", -9)
            return JobState("lost", reason="It was taken out of Ray's queue before it ran.")
        except errors.RayError as error:  # a worker or its node died, memory ran out there, the task itself failed
            return JobState("lost", reason=f"{type(error).__name__}: {last_line(error)}")
        return JobState("exited", ended.code, ended.host)

    @staticmethod
    def _meanwhile(handle: RayHandle) -> JobState:
        said = holder(handle.folder)
        if not said or said == handle.before:
            return JobState("waiting")
        return JobState("running", host=said.partition(" ")[2])

    def _give_up_stranded(self, handles: Sequence[RayHandle], states: list[JobState]) -> None:
        """Where the last node that could hold a cell is gone, Ray would wait for ever."""
        now = time.monotonic()
        if now - self._looked < NOT_THERE:
            return
        self._looked = now
        if self._holding():
            self._fitted = now
        elif now - self._fitted > STRANDED:
            for place, handle in enumerate(handles):
                if states[place].phase == "waiting":
                    self._ray.cancel(handle.ref, force=True)
                    self._handles.remove(handle)
                    states[place] = handle.state = JobState("lost", reason=self._infeasible())

    def cancel(self, handle: RayHandle, kill: bool = False) -> None:
        if handle.state is None:
            handle.killed |= kill
            self._ray.cancel(handle.ref, force=kill)

    def close(self) -> None:
        if self._ray is None:
            return
        refs = [handle.ref for handle in self._handles]
        for handle in self._handles:
            self.cancel(handle, kill=True)
        if refs:
            self._ray.wait(refs, num_returns=len(refs), timeout=LAST_BREATH)
        self._handles.clear()
        if self._ours:
            self._ray.shutdown()
        self._ray = None


@contextmanager
def own_handlers() -> Iterator[None]:
    """Ray takes SIGTERM over as it connects, which would end the study without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def holder(folder: Path) -> str:
    """``PID HOST`` of the process that works, or has last worked, on a cell."""
    try:
        return (folder / LOCK_FILE).read_text().strip()
    except OSError:
        return ""


def first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def last_line(error: BaseException) -> str:
    return ([type(error).__name__, *str(error).strip().splitlines()])[-1].rstrip(".")
