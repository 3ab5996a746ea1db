"""SIGKILL of controllers and cells at random: all cells are finished, none twice, and nothing is another number."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG and /proc")


def storm(place: Path, *words: str) -> dict[str, Any]:
    """The figures of a storm; it has a process of its own, which must have no thread when it forks."""
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "build" / "typing"), os.environ.get("PYTHONPATH", "")])
    told = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": path}
    command = [sys.executable, "-P", "-m", "studies.storm", "--place", str(place / "storm"), *words]
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    assert done.stdout, f"it said nothing and ended with {done.returncode}: {done.stderr[-3000:]}"
    figures = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(figures))
    return figures


def check(figures: dict[str, Any]) -> None:
    assert figures["finished"] == figures["identical"] == figures["cells"]
    assert (figures["done_twice"], figures["orphans"], figures["integrity"]) == (0, 0, "ok")
    assert sum(figures["kills"].values()) > 0
    assert figures["strays"] <= 2


@pytest.mark.slow
def test_stand_ins_survive_ten_kills(tmp_path):
    check(storm(tmp_path, "--children", "stand-in", "--cells", "10", "--kills", "10", "--every", "0.1"))


@pytest.mark.slow
def test_real_runs_survive_a_hundred_kills(tmp_path):
    figures = storm(tmp_path, "--cells", "24", "--kills", "110", "--every", "1.6", "--seed", "1")
    check(figures)
    assert sum(figures["kills"].values()) >= 100 and min(figures["kills"].values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("children", ["warm", "fresh"])
def test_it_is_the_same_with_children_as_the_local_engine_starts_them(children, tmp_path):
    check(storm(tmp_path, "--children", children, "--cells", "4", "--kills", "6", "--every", "8"))
