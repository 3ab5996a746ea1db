"""Cells on a Ray cluster of two nodes, made on this machine; the checks of options need none."""

import dataclasses
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from finelab.contracts.errors import UserError
from finelab.studies.cell_folder import write_cell
from finelab.studies.engines.engine import Job
from finelab.studies.engines.ray import Ray
from finelab.studies.engines.ray_probe import Seen, complaint, look, versions

from ..running import Running, Watcher, a_cell, travelling_stand_in

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a child that dies with Ray's worker needs Linux")
STORE = 80 * 2**20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "neither engine.address nor RAY_ADDRESS says where"),
        ({"address": "local"}, "engine.address is 'local'; finelab starts no cluster"),
        ({"address": "ray://head:10001"}, "finelab starts no cluster: give the HOST:PORT"),
        ({"address": "head:6379", "threads": 0}, "engine.threads is 0; give a whole number, at least 1"),
        ({"address": "head:6379", "cpus": "two"}, "engine.cpus is 'two'; give a number"),
        ({"address": "head:6379", "gpus": -1}, "engine.gpus is -1; give a number, at least 0"),
        ({"address": "head:6379", "gpus": 1.5}, "a share of one GPU or a whole number"),
        ({"address": "head:6379", "slots": True}, "engine.slots is True"),
        ({"address": "head:6379", "environment": ["HF_HOME"]}, "engine.environment is ['HF_HOME']"),
    ],
    ids=str,
)
def test_options_are_checked_before_anything_runs(tmp_path, monkeypatch, options, said):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError) as refused:
        Ray(tmp_path, **options)
    assert said in str(refused.value)


def test_the_address_may_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert Ray(tmp_path).address == "head:6379"
    assert Ray(tmp_path, address="other:1").address == "other:1"


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'finelab\[ray\]'"):
        Ray(tmp_path, address="head:6379").open()


def test_what_a_node_has_to_be_like(tmp_path):
    marker = tmp_path / "marker"
    marker.write_text("1f")
    here = Seen("here", "1f", True, versions())
    assert look(str(marker), str(tmp_path)).versions == here.versions
    assert complaint(look(str(marker), str(tmp_path)), here) is None
    assert "a file system that all nodes share" in str(complaint(look(str(tmp_path / "no"), str(tmp_path)), here))
    marker.write_text("of another study")
    assert "a file system that all nodes share" in str(complaint(look(str(marker), str(tmp_path)), here))
    assert "where the study was started" in str(complaint(Seen("there", "1f", False, here.versions), here))
    older = dataclasses.replace(here, versions={**here.versions, "torch": "0.4"})
    assert f"it has torch 0.4 instead of {here.versions['torch']}" in str(complaint(older, here))


def test_an_address_where_nothing_listens(tmp_path):
    pytest.importorskip("ray", reason="the extra finelab[ray] is not installed")
    with pytest.raises(UserError, match="where no Ray cluster could be joined"):
        Ray(tmp_path, address="127.0.0.1:9").open()


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray", reason="the extra finelab[ray] is not installed")
    former = os.environ.get("RAY_AUTH_MODE")
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    )
    made.add_node(num_cpus=1, object_store_memory=STORE)
    yield made
    made.shutdown()
    os.environ.pop("RAY_AUTH_MODE")
    if former is not None:
        os.environ["RAY_AUTH_MODE"] = former


def an_engine(folder, cluster, **options):
    engine = Ray(folder, address=cluster.address, **options)
    engine.launcher = travelling_stand_in()
    return engine


def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


@pytest.mark.slow
def test_infeasible_requests_are_refused_at_once(tmp_path, cluster):
    started = time.monotonic()
    with pytest.raises(UserError, match=r"A cell asks for 1 CPU, 8 GPU .* no node of the Ray cluster has that"):
        an_engine(tmp_path, cluster, gpus=8).open()
    with pytest.raises(UserError, match=r"A cell asks for 2 CPU"):
        an_engine(tmp_path, cluster, threads=2).open()
    assert time.monotonic() - started < 20


@pytest.mark.slow
def test_cells_run_end_and_are_cancelled(tmp_path, cluster):
    engine = an_engine(tmp_path, cluster)
    former = signal.getsignal(signal.SIGTERM)
    engine.open()
    assert signal.getsignal(signal.SIGTERM) is former
    try:
        assert engine.slots == 2 and not list(tmp_path.iterdir())
        jobs = []
        for number, fate in enumerate(["kill", "say", "hang", "deaf", "hang"]):
            cell = a_cell(number, fate)
            write_cell(tmp_path / cell.folder_name, cell)
            jobs.append(Job(tmp_path / cell.folder_name, cell.folder_name))
        killed, said = [engine.submit(job) for job in jobs[:2]]
        assert engine.poll([killed])[0].phase == "waiting"
        until(lambda: all(state.phase == "exited" for state in engine.poll([killed, said])))
        assert [state.code for state in engine.poll([killed, said])] == [-9, 1]
        assert engine.poll([said])[0].host == os.uname().nodename
        assert "ValueError: made up" in (jobs[1].folder / "log.txt").read_text()
        stopped, deaf, queued = [engine.submit(job) for job in jobs[2:]]
        until(lambda: [state.phase for state in engine.poll([stopped, deaf])] == ["running", "running"])
        assert engine.poll([queued])[0].phase == "waiting"
        engine.cancel(queued)
        engine.cancel(stopped)
        until(lambda: engine.poll([stopped])[0].phase == "exited")
        assert engine.poll([stopped])[0].code == 143
        assert engine.poll([queued])[0].phase == "lost"
        assert not (jobs[4].folder / "attempts").exists()
        child = int((jobs[3].folder / ".lock").read_text().split()[0])
        engine.cancel(deaf)
        time.sleep(1)
        assert engine.poll([deaf])[0].phase == "running"
        engine.cancel(deaf, kill=True)
        until(lambda: engine.poll([deaf])[0].phase in ("exited", "lost"))
        until(lambda: not Path(f"/proc/{child}").exists())
    finally:
        engine.close()


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Storm(Watcher):
    """Kills workers of running cells and takes nodes away, until it has done so often enough.

    Nodes can be added by the main thread only, which is the controller's.
    """

    def __init__(self, folder, cluster, workers, nodes):
        super().__init__()
        self.folder, self.cluster, self.workers, self.nodes = folder, cluster, workers, nodes
        self.killed = self.lost = 0
        self.outlived = []
        self.draws = random.Random(1)
        self.next = 0.0
        self.missing = False

    def tick(self):
        if time.monotonic() < self.next:
            return
        self.next = time.monotonic() + self.draws.uniform(0.2, 0.6)
        if self.missing:
            self.cluster.add_node(num_cpus=1, object_store_memory=STORE)
            self.missing = False
        elif self.lost < self.nodes and self.killed >= self.workers * (self.lost + 1) // (self.nodes + 1):
            (node,) = [node for node in self.cluster.list_all_nodes() if not node.head]
            raylet = node.all_processes["raylet"][0].process.pid
            if any(parent_of(worker) == raylet for _, worker in self.running()):
                self.cluster.remove_node(node, allow_graceful=False)
                self.lost += 1
                self.missing = True
        elif self.killed < self.workers:
            self.kill_a_worker()

    def running(self):
        """Children of cells with Ray's workers that have started them."""
        found = []
        for lock in self.folder.glob("cells/*/.lock"):
            try:
                child = int(lock.read_text().split()[0])
                worker = parent_of(child)
                if "ray" in Path(f"/proc/{worker}/cmdline").read_text():
                    found.append((child, worker))
            except (OSError, ValueError, IndexError):
                continue
        return found

    def kill_a_worker(self):
        found = self.running()
        if not found:
            return
        child, worker = self.draws.choice(found)
        os.kill(worker, signal.SIGKILL)
        self.killed += 1
        killed = time.monotonic()
        while alive(child) and time.monotonic() < killed + 5:
            time.sleep(0.01)
        self.outlived.append(time.monotonic() - killed)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_twenty_killed_workers_and_three_lost_nodes(tmp_path, cluster):
    cells = [a_cell(number, seconds=1.5) for number in range(24)]
    calm = Running(tmp_path / "calm", cells)
    assert calm.run().complete
    study = Running(tmp_path / "storm", cells, retries=50)
    storm = Storm(study.folder, cluster, 20, 3)
    started = time.monotonic()
    outcome = study.run(engine=an_engine(study.folder, cluster), observer=storm)
    seconds = time.monotonic() - started
    assert (storm.killed, storm.lost) == (20, 3) and max(storm.outlived) < 5
    assert (outcome.complete, outcome.ran, outcome.failed) == (True, 24, ())
    assert study.count("done") == dict.fromkeys([cell.id for cell in cells], 1)
    for cell in cells:
        records = [(each.place(cell) / "run" / "record.json").read_bytes() for each in (calm, study)]
        assert records[0] == records[1]
    reasons = Counter(found["message"].partition(":")[0] for found in study.events("again"))
    assert reasons["WorkerCrashedError"] == 20 and reasons["NodeDiedError"] >= 3
    print(
        f"24 cells in {seconds:.0f} s, attempts lost: {dict(reasons)}, children outlived by {max(storm.outlived):.2f} s"
    )
