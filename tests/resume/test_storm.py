"""SIGKILL at random, then ``--resume``: the run that comes out is the one that was never killed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STORM = Path(__file__).parent / "storm.py"


def storm(place: Path, *words: str, **environment: str) -> dict:
    """The figures of a storm; it has a process of its own, which must have no thread when it forks."""
    command = [sys.executable, str(STORM), "--place", str(place / "storm"), *words]
    told = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"} | environment
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    *fates, figures = map(json.loads, done.stdout.splitlines()[-1 - int(words[1]) :])
    print(json.dumps(figures))
    assert [fate for fate in fates if fate["differs"]] == []
    return figures


def test_a_run_that_was_killed_is_the_run(tmp_path):
    """Up to three kills: in a step, in a save, and at any time; how many meet it is a matter of the machine's pace."""
    figures = storm(tmp_path, "--runs", "1", "--first", "173")
    assert figures["same"] == 1 and sum(figures["kills"].values()) >= 1


@pytest.mark.slow
def test_fifty_runs_that_were_killed_are_the_run(tmp_path):
    figures = storm(tmp_path, "--runs", "50")
    assert figures["same"] == figures["runs"] == 50 and min(figures["kills"].values()) > 5


@pytest.mark.slow
def test_it_is_the_same_with_a_new_interpreter_for_every_life(tmp_path):
    assert storm(tmp_path, "--runs", "2", "--first", "173", "--fresh")["same"] == 2


@pytest.mark.slow
def test_it_is_the_same_with_temporary_files_elsewhere(tmp_path):
    """A rename from another file system is a copy, which a kill can cut in two."""
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    assert storm(tmp_path, "--runs", "5", "--first", "100", TMPDIR=str(elsewhere))["same"] == 5
