"""Children of this machine: their places, what they see, and that none is left."""

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from finelab.contracts.errors import UserError
from finelab.studies.engines import local
from finelab.studies.engines.child_environment import child_environment
from finelab.studies.engines.engine import Job
from finelab.studies.engines.local import Local, device_shares, visible_gpus
from finelab.studies.engines.process_launcher import ProcessLauncher


class Recording:
    """Starts nothing; what it was given is kept."""

    def __init__(self) -> None:
        self.environments: list[dict[str, str]] = []
        self.codes: dict[int, int | None] = {}
        self.closed = False

    def start(self, job, environment):
        pid = len(self.environments)
        self.environments.append(environment)
        self.codes[pid] = None
        kill = lambda: self.codes.update({pid: -9})  # noqa: E731
        return SimpleNamespace(pid=pid, poll=lambda: self.codes[pid], terminate=kill, kill=kill)

    def close(self):
        self.closed = True


def start(engine: Local, count: int) -> list:
    return [engine.submit(Job(Path("x"), "x")) for _ in range(count)]


@pytest.mark.parametrize(
    ("gpus", "cells_per_gpu", "expected"),
    [
        (1, 1, ["0", "1", "2", "3"]),
        (2, 1, ["0,1", "2,3"]),
        (3, 1, ["0,1,2"]),
        (1, 2, ["0", "1", "2", "3", "0", "1", "2", "3"]),
        (0, 1, []),
    ],
)
def test_what_each_slot_sees(gpus, cells_per_gpu, expected):
    assert device_shares(["0", "1", "2", "3"], gpus, cells_per_gpu) == expected


def test_a_gpu_is_that_of_one_cell_until_it_ends(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b")
    launcher = Recording()
    engine = Local(threads=3, launcher=launcher)
    assert engine.slots == 2
    first, second = start(engine, 2)
    launcher.codes[0] = 0
    states = engine.poll([first, second])
    assert [(state.phase, state.code) for state in states] == [("exited", 0), ("running", None)]
    start(engine, 1)
    assert [found["CUDA_VISIBLE_DEVICES"] for found in launcher.environments] == ["GPU-a", "GPU-b", "GPU-a"]
    assert {found["OMP_NUM_THREADS"] + found["MKL_NUM_THREADS"] for found in launcher.environments} == {"33"}
    assert {found["TOKENIZERS_PARALLELISM"] for found in launcher.environments} == {"false"}


def test_without_gpus_a_cell_sees_none_and_slots_are_cores(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setattr(local, "cores", lambda: 6)
    monkeypatch.setattr(os, "sysconf", lambda name: 2**40 if name == "SC_PHYS_PAGES" else 4096)
    launcher = Recording()
    assert visible_gpus() == [] and Local(threads=2, launcher=launcher).slots == 3
    assert Local(threads=8, launcher=launcher).slots == 1
    start(Local(launcher=launcher), 1)
    assert launcher.environments[0]["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setattr(os, "sysconf", lambda name: 2 * 2**20 if name == "SC_PHYS_PAGES" else 4096)
    assert Local(launcher=launcher).slots == 2, "8 GB hold two cells"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"slots": 0}, "engine.slots is 0; give a whole number, at least 1"),
        ({"threads": "two"}, "engine.threads is 'two'"),
        ({"threads": True}, "engine.threads is True"),
        ({"gpus": 3}, "engine.gpus is 3 and this machine shows 2"),
        ({"slots": 3}, "hold 2 cells"),
        ({"gpus": 2, "cells_per_gpu": 2}, "exclude each other"),
    ],
)
def test_options_that_cannot_be(options, says, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(UserError, match=says):
        Local(**options)


def test_a_child_is_no_rank_of_what_its_controller_belongs_to(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_JOB_ID", "FINELAB_RUN_DIRECTORY", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HOME", "kept")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    found = child_environment(1, None)
    assert not found.keys() & {"RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_JOB_ID", "FINELAB_RUN_DIRECTORY"}
    assert (found["HF_HOME"], found["CUDA_VISIBLE_DEVICES"]) == ("kept", "7")


def child_of(tmp_path: Path, program: str):
    return ProcessLauncher(lambda job: [sys.executable, "-I", "-S", "-c", program]).start(
        Job(tmp_path, "x"), os.environ
    )


def ended(child, patience: float = 10.0) -> int | None:
    deadline = time.monotonic() + patience
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return child.poll()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("way", ["kill", "end"])
def test_nothing_of_a_childs_group_is_left(way, tmp_path):
    """Workers of a loader, and ranks of a run."""
    wait = "time.sleep(60)" if way == "kill" else ""
    child = child_of(
        tmp_path, f"import os, time; pid = os.fork()\nif not pid: time.sleep(60)\nprint(pid, flush=True); {wait}"
    )
    log = tmp_path / "log.txt"
    while not log.read_text().endswith("\n"):
        time.sleep(0.01)
    worker = int(log.read_text())
    if way == "kill":
        child.kill()
    assert ended(child) == (-signal.SIGKILL if way == "kill" else 0)
    deadline = time.monotonic() + 5
    while _lives(worker) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _lives(worker)
    child.terminate()
    child.kill()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_log_is_appended_to_and_a_signal_goes_to_the_child_alone(tmp_path):
    (tmp_path / "log.txt").write_text("before\n")
    child = child_of(tmp_path, "import time; print('started', flush=True); time.sleep(60)")
    while "started" not in (tmp_path / "log.txt").read_text():
        time.sleep(0.01)
    child.terminate()
    assert ended(child) == -signal.SIGTERM
    assert (tmp_path / "log.txt").read_text() == "before\nstarted\n"


def test_closing_leaves_none(tmp_path):
    engine = Local(slots=2, gpus=0, launcher=ProcessLauncher(lambda job: ["sleep", "60"]))
    handles = [engine.submit(Job(tmp_path, "x")) for _ in range(2)]
    engine.close()
    assert [state.code for state in engine.poll(handles)] == [-signal.SIGKILL] * 2
