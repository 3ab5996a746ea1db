"""Cells that are forked: the protocol and its faults with a server that forks something light, then real fits."""

import hashlib
import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import pytest

from finelab.contracts.record import read_record
from finelab.studies.engines.child_environment import child_environment
from finelab.studies.engines.engine import Job
from finelab.studies.engines.process_launcher import ProcessLauncher
from finelab.studies.engines.warm_launcher import WarmLauncher
from finelab.studies.engines.warm_server import WarmServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cells are forked on Linux only")

COMMAND = (sys.executable, str(Path(__file__).with_name("light_server.py")))


@pytest.fixture
def launcher():
    made = WarmLauncher(COMMAND)
    yield made
    made.close()


def job(folder, plan):
    folder.mkdir()
    (folder / "plan").write_text(plan)
    return Job(folder, folder.name, ("mine",))


def code_of(child, seconds=20.0):
    deadline = time.monotonic() + seconds
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return child.poll()


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def environment(**more):
    return {**child_environment(1, None), **more}


def test_a_cell_is_a_process_that_shares_nothing(launcher, tmp_path):
    cells = [job(tmp_path / name, "0") for name in ("one", "two", "three")]
    children = [
        launcher.start(cell, environment(CUDA_VISIBLE_DEVICES=str(n), PRIVATE="yes")) for n, cell in enumerate(cells)
    ]
    assert [code_of(child) for child in children] == [0, 0, 0]
    server = launcher.server.pid
    drawn = set()
    for n, (cell, child) in enumerate(zip(cells, children, strict=True)):
        said = json.loads((cell.folder / "said.json").read_text())
        assert said["words"] == ["cell", str(cell.folder), "--trust-module", "mine"]
        assert said["shared"] == [cell.folder.name]
        assert said["pid"] == said["group"] == child.pid
        drawn |= set(said["draws"])
        wanted = environment(CUDA_VISIBLE_DEVICES=str(n), PRIVATE="yes", FINELAB_PARENT=str(server))
        assert said["environment"] == wanted
        assert (said["stdin"], said["sigchld"], said["sigint"], said["blocked"]) == ("", True, True, 0)
        log = str(cell.folder / "log.txt")
        assert said["handles"][:3] == ["/dev/null", log, log] and len(said["handles"]) == 3
        assert Path(log).read_text() == f"printed by {cell.folder.name}\n"
        assert (cell.folder / "left").read_text() == "whole"
    assert len(drawn) == 6


def test_the_next_attempt_appends_to_the_log(launcher, tmp_path):
    cell = job(tmp_path / "one", "0")
    for _ in range(2):
        assert code_of(launcher.start(cell, environment())) == 0
    assert (cell.folder / "log.txt").read_text() == "printed by one\n" * 2


@pytest.mark.parametrize(("plan", "code"), [("3", 3), ("kill", -9), ("raise", 1)])
def test_how_it_ended(launcher, tmp_path, plan, code):
    cell, other = job(tmp_path / "one", plan), job(tmp_path / "two", "0")
    assert code_of(launcher.start(cell, environment())) == code
    if plan == "raise":
        assert "ValueError: a mistake of the cell" in (cell.folder / "log.txt").read_text()
    assert code_of(launcher.start(other, environment())) == 0


def test_terminate_and_kill(launcher, tmp_path):
    slow = [job(tmp_path / name, "child") for name in ("one", "two")]
    children = [launcher.start(cell, environment()) for cell in slow]
    until(lambda: all((cell.folder / "grandchild").exists() for cell in slow))
    children[0].terminate()
    children[1].kill()
    assert [code_of(child) for child in children] == [-signal.SIGTERM, -signal.SIGKILL]
    for cell in slow:
        until(lambda cell=cell: not alive(int((cell.folder / "grandchild").read_text())))
    for child in children:
        child.terminate()
        child.kill()


def test_nothing_of_its_group_outlives_a_cell(launcher, tmp_path):
    cell = job(tmp_path / "one", "leave a child")
    assert code_of(launcher.start(cell, environment())) == 0
    until(lambda: not alive(int((cell.folder / "grandchild").read_text())))


def test_cells_of_a_killed_server_die_and_a_second_one_is_started(launcher, tmp_path):
    first = launcher.start(job(tmp_path / "one", "child"), environment())
    until((tmp_path / "one" / "grandchild").exists)
    server = launcher.server.pid
    os.kill(server, signal.SIGKILL)
    assert code_of(first) == -signal.SIGKILL
    assert not alive(first.pid)
    until(lambda: not alive(int((tmp_path / "one" / "grandchild").read_text())))
    again = launcher.start(job(tmp_path / "two", "0"), environment())
    assert code_of(again) == 0
    assert launcher.server.pid != server


class Cold:
    """Stands in for a launcher that needs no server."""

    def __init__(self):
        self.started = []

    def start(self, job, environment):
        self.started.append(job.label)
        return self

    def close(self):
        pass


def test_after_two_deaths_cells_start_by_themselves(tmp_path):
    cold = Cold()
    launcher = WarmLauncher(COMMAND, cold)
    for name in ("one", "two"):
        assert code_of(launcher.start(job(tmp_path / name, "0"), environment())) == 0
        os.kill(launcher.server.pid, signal.SIGKILL)
    with pytest.warns(UserWarning, match="every cell|Every cell now starts an interpreter of its own"):
        launcher.start(job(tmp_path / "three", "0"), environment())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        launcher.start(job(tmp_path / "four", "0"), environment())
    assert cold.started == ["three", "four"]
    launcher.close()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; sys.exit('no such package')", "it ended with 1; no such package"),
        ('print(\'{"unsafe": "CUDA is up"}\')', "CUDA is up"),
    ],
    ids=["broken", "unsafe"],
)
def test_a_server_that_cannot_be_used(tmp_path, script, reason):
    cold = Cold()
    launcher = WarmLauncher((sys.executable, "-c", script), cold)
    with pytest.warns(UserWarning, match=reason):
        launcher.start(job(tmp_path / "one", "0"), environment())
    assert cold.started == ["one"]
    launcher.close()


def test_another_environment_needs_an_interpreter_of_its_own(tmp_path):
    cold = Cold()
    launcher = WarmLauncher(COMMAND, cold)
    assert code_of(launcher.start(job(tmp_path / "one", "0"), environment())) == 0
    launcher.start(job(tmp_path / "two", "0"), environment(OMP_NUM_THREADS="7"))
    assert code_of(launcher.start(job(tmp_path / "three", "0"), environment(CUDA_VISIBLE_DEVICES=""))) == 0
    assert cold.started == ["two"]
    launcher.close()


def test_closing_ends_server_and_cells(tmp_path):
    launcher = WarmLauncher(COMMAND)
    child = launcher.start(job(tmp_path / "one", "child"), environment())
    until((tmp_path / "one" / "grandchild").exists)
    server = launcher.server.pid
    launcher.close()
    grandchild = int((tmp_path / "one" / "grandchild").read_text())
    for pid in (server, child.pid, grandchild):
        until(lambda pid=pid: not alive(pid))


def test_a_log_that_cannot_be_written_is_said_at_once(launcher, tmp_path):
    with pytest.raises(OSError):
        launcher.start(Job(tmp_path / "nowhere", "one"), environment())


def test_server_dies_with_the_process_that_started_it(tmp_path):
    script = (
        "import sys, time\nfrom finelab.studies.engines.warm_server import WarmServer\nimport os\n"
        "server = WarmServer(sys.argv[1:], dict(os.environ))\nassert server.refusal() is None\n"
        "print(server.pid, flush=True)\ntime.sleep(60)"
    )
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 1)
        os.execv(sys.executable, [sys.executable, "-c", script, *COMMAND])
    os.close(write)
    server = int(os.read(read, 100))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    until(lambda: not alive(server))


FIT = {
    "seeds": 1,
    "evaluate_test": True,
    "trainer": {"max_steps": 6, "accelerator": "cpu", "callbacks": [], "enable_progress_bar": False},
    "model": {
        "class_path": "finelab.models.SequenceClassifier",
        "init_args": {
            "base": "tiny://bert",
            "adapter": {
                "class_path": "peft.LoraConfig",
                "init_args": {"r": 4, "lora_dropout": 0.1, "target_modules": ["query", "value"]},
            },
            "regularizers": [{"class_path": "finelab.models.regularizers.RDrop", "init_args": {"weight": 1.0}}],
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1.0e-3}},
        },
    },
    "data": {"class_path": "finelab.data.StdlibDocs", "init_args": {"context": 32, "batch_size": 8}},
}


def made_by(run):
    """What is to be equal: weights, scores, per-example files and the order of the rows."""
    record = read_record(run)
    files = sorted(path for path in run.rglob("*") if path.suffix in (".safetensors", ".parquet"))
    assert any(path.suffix == ".safetensors" for path in files) and record.status == "finished"
    digests = {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert record.order_digest is not None
    equal = (
        "metrics",
        "history",
        "best",
        "order_digest",
        "order_trail",
        "config_digest",
        "parameters",
        "data",
        "seeds",
    )
    del record.data["cache"]  # the first run makes the tokens, the others find them
    return digests, {name: getattr(record, name) for name in equal}


@pytest.mark.slow
def test_warm_and_cold_fits_are_bit_identical(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(FIT))
    shared, results, seconds = child_environment(1, None), [], []
    server = WarmServer(WarmLauncher().command, shared)
    assert server.refusal() is None

    def words(name):
        return ["fit", "-c", str(config), "--no-check", "--run.root", str(tmp_path), "--run.name", name]

    for name in ("first", "second"):
        started = time.monotonic()
        numbered = server.fork(words(name), tmp_path / f"{name}.txt", shared)
        assert numbered is not None
        until(lambda job=numbered[0]: server.read(0.1) or job in server.codes, 120)
        assert server.codes[numbered[0]] == 0, (tmp_path / f"{name}.txt").read_text()
        seconds.append(time.monotonic() - started)
        results.append(made_by(tmp_path / name))
    server.close()
    started = time.monotonic()
    cold = ProcessLauncher(lambda _: [sys.executable, "-P", "-m", "finelab.scripts", *words("cold")])
    assert code_of(cold.start(Job(tmp_path, "cold"), shared), 200) == 0, (tmp_path / "log.txt").read_text()
    print(f"warm {seconds[0]:.1f} s and {seconds[1]:.1f} s, cold {time.monotonic() - started:.1f} s")
    results.append(made_by(tmp_path / "cold"))
    assert results[0] == results[1] == results[2]
