"""Cells as jobs: submitit's own processes on this machine stand in for a cluster, and a made-up squeue for SLURM's."""

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finelab.contracts.errors import UserError
from finelab.studies.cell_folder import write_cell
from finelab.studies.engines.engine import Job
from finelab.studies.engines.slurm import Slurm
from finelab.studies.engines.slurm_queue import SlurmQueue

from ..running import Running, a_cell, travelling_stand_in

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a child that dies with its job needs Linux")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cluster": "pbs"}, "engine.cluster is 'pbs'; there are slurm and local"),
        ({"slots": 0}, "engine.slots is 0; give a whole number, at least 1"),
        ({"minutes": "4h"}, "engine.minutes is '4h'"),
        ({"requeues": -1}, "engine.requeues is -1"),
        ({"gpus": 0.5}, "engine.gpus is 0.5"),
        ({"sbatch": ["partition"]}, "engine.sbatch is ['partition']"),
    ],
    ids=str,
)
def test_options_are_checked_before_anything_runs(tmp_path, options, said):
    with pytest.raises(UserError) as refused:
        Slurm(tmp_path, **options)
    assert said in str(refused.value)


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install 'finelab\[slurm\]'"):
        Slurm(tmp_path).open()


def command(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_machine_that_submits_to_no_cluster(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="the extra finelab[slurm] is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"sbatch, squeue, scancel, srun cannot be found"):
        Slurm(tmp_path).open()


def test_a_parameter_that_submitit_knows_not(tmp_path):
    pytest.importorskip("submitit", reason="the extra finelab[slurm] is not installed")
    with pytest.raises(UserError, match=r"submitit refuses what it is given"):
        Slurm(tmp_path, cluster="local", sbatch={"slurm_nonsense": 1}).open()


def test_the_queue_is_asked_once_for_all_jobs_and_believed_when_it_is_silent(tmp_path, monkeypatch):
    said, asked = tmp_path / "said", tmp_path / "asked"
    command(tmp_path, "squeue", f'echo "$@" >> {asked}; cat {said}')
    command(tmp_path, "scancel", f'echo "$@" >> {tmp_path / "cancelled"}')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    said.write_text("7_0|RUNNING|node1\n7_1|PENDING|\n7_2|FAILED|node2\n7_3|COMPLETING|node1\n")
    queue = SlurmQueue()
    found = [queue.state(job) for job in ("7_0", "7_1", "7_2", "7_3", "8")]
    wanted = [("running", "node1"), ("waiting", ""), ("gone", "FAILED"), ("running", "node1")]
    assert found == [*wanted, ("gone", "not in the queue")]
    assert len(asked.read_text().splitlines()) == 1
    queue.cancel("7_1", kill=False)
    queue.cancel("7_0", kill=False)
    queue.cancel("7_0", kill=True)
    assert (tmp_path / "cancelled").read_text().splitlines() == ["7_1", "--signal=TERM 7_0", "--signal=KILL 7_0"]
    command(tmp_path, "squeue", "echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1")
    queue._asked = float("-inf")
    assert queue.state("7_0") == ("running", "node1")


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def an_engine(folder, **options):
    pytest.importorskip("submitit", reason="the extra finelab[slurm] is not installed")
    engine = Slurm(folder, cluster="local", **options)
    engine.launcher = travelling_stand_in()
    return engine


needs_slurm = pytest.mark.skipif(shutil.which("sbatch") is None, reason="this machine submits to no SLURM cluster")


@needs_slurm
@pytest.mark.slow
def test_slurm_itself(tmp_path):
    pytest.importorskip("submitit", reason="the extra finelab[slurm] is not installed")
    cells = [a_cell(number) for number in range(4)]
    study = Running(tmp_path / "runs", cells)
    engine = Slurm(study.folder, slots=4)
    engine.launcher = travelling_stand_in()
    assert study.run(engine=engine).complete
    assert study.count("done") == dict.fromkeys([cell.id for cell in cells], 1)


@needs_slurm
@pytest.mark.slow
def test_slurm_requeues_a_job_that_was_told(tmp_path):
    pytest.importorskip("submitit", reason="the extra finelab[slurm] is not installed")
    engine = Slurm(tmp_path / "study")
    engine.launcher = travelling_stand_in()
    engine.open()
    cell = a_cell(1, "hang", "finish")
    folder = tmp_path / cell.folder_name
    write_cell(folder, cell)
    handle = engine.submit(Job(folder, cell.folder_name))
    until(lambda: (engine.poll([handle]), (folder / "attempts").exists())[1])
    time.sleep(1)
    subprocess.run(["scancel", "--signal=USR2", handle.job.job_id], check=True)
    until(lambda: engine.poll([handle])[0].phase == "exited", 240)
    assert engine.poll([handle])[0].code == 0 and (folder / "attempts").read_text() == "2"
    engine.close()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_cells_run_end_and_are_cancelled(tmp_path):
    engine = an_engine(tmp_path / "study")
    engine.open()
    try:
        jobs = []
        for number, fate in enumerate(["kill", "say", "hang", "deaf", "hang"]):
            cell = a_cell(number, fate)
            write_cell(tmp_path / cell.folder_name, cell)
            jobs.append(Job(tmp_path / cell.folder_name, cell.folder_name))
        handles = [engine.submit(job) for job in jobs]
        engine.cancel(handles[4])
        assert engine.poll([handles[4]])[0].phase == "lost"
        killed, said, stopped, deaf = handles[:4]
        until(lambda: all(state.phase == "exited" for state in engine.poll([killed, said])))
        assert [(state.code, state.host) for state in engine.poll([killed, said])] == [
            (-9, os.uname().nodename),
            (1, os.uname().nodename),
        ]
        until(lambda: (jobs[2].folder / "attempts").exists() and (jobs[3].folder / "attempts").exists())
        time.sleep(0.3)
        child = int((jobs[3].folder / ".lock").read_text().split()[0])
        engine.cancel(stopped)
        engine.cancel(deaf)
        until(lambda: engine.poll([stopped])[0].phase == "exited")
        assert engine.poll([stopped])[0].code == 143
        assert engine.poll([deaf])[0].phase == "running"
        engine.cancel(deaf, kill=True)
        until(lambda: engine.poll([deaf])[0].phase in ("exited", "lost"))
        until(lambda: not alive(child))
        assert not (jobs[4].folder / "attempts").exists()
    finally:
        engine.close()


@pytest.mark.slow
def test_a_preempted_job_saves_is_requeued_and_goes_on(tmp_path):
    engine = an_engine(tmp_path / "study")
    engine.open()
    cell = a_cell(1, "hang", "finish")
    folder = tmp_path / cell.folder_name
    write_cell(folder, cell)
    handle = engine.submit(Job(folder, cell.folder_name))
    until(lambda: (engine.poll([handle]), (folder / "attempts").exists())[1])
    time.sleep(0.3)
    (controller,) = [handle.job._process.pid]
    tasks = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
    os.kill(int(tasks[0]), handle.job._interrupt.__globals__["LocalJobEnvironment"]._usr_sig())
    until(lambda: engine.poll([handle])[0].phase == "exited")
    assert engine.poll([handle])[0].code == 0
    assert (folder / "attempts").read_text() == "2"
    assert '"status": "finished"' in (folder / "run" / "record.json").read_text()
    assert (folder / "run" / "checkpoints" / "state-00000001").is_dir()
    engine.close()


@pytest.mark.slow
def test_a_study_of_jobs_is_that_of_local_children(tmp_path):
    cells = [a_cell(0), a_cell(1, "kill", "finish"), a_cell(2), a_cell(3, "failed: error"), a_cell(4)]
    studies = [Running(tmp_path / name, cells) for name in ("local", "jobs")]
    studies[0].run()
    outcome = studies[1].run(engine=an_engine(studies[1].folder))
    assert outcome.ran == 4 and [entry.id for entry in outcome.failed] == [cells[3].id]
    assert studies[0].count("done") == studies[1].count("done")
    for cell in cells:
        records = [(study.place(cell) / "run" / "record.json").read_bytes() for study in studies]
        assert records[0] == records[1]
