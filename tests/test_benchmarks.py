"""The benchmark against Hugging Face's Trainer runs: both sides learn the same rows, and the results are whole."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "peers.py"
ROWS = 64


def peers(*arguments: str, python: tuple[str, ...] = ()) -> str:
    done = subprocess.run([sys.executable, *python, str(SCRIPT), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_help_needs_no_torch():
    said = peers("--help", python=("-X", "importtime"))
    assert "--repeats" in said
    assert "| torch" not in said


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="accelerate (extra: bench) is not installed")
def test_both_sides_train_the_same_rows(tmp_path, shared_data):
    file = tmp_path / "peers.json"
    options = ["--base", "tiny://bert", "--rows", str(ROWS), "--repeats", "1", "--threads", "1"]
    shown = peers(*options, "--data", str(shared_data("sst2")), "--output", str(file))
    content = json.loads(file.read_text())
    ours, theirs = (content["measurements"][side][0] for side in ("finelab", "peer"))
    assert ours["examples"] == theirs["examples"] == ROWS
    assert ours["steps"] == theirs["steps"] == ROWS // 32
    assert ours["trainable_parameters"] == theirs["trainable_parameters"]
    assert ours["threads"] == theirs["threads"] == 1
    ratio = content["ratios"]["examples_per_second"]
    assert ratio == pytest.approx(ours["examples_per_second"] / theirs["examples_per_second"])
    assert f"{ratio:.3f}" in shown
    assert str(shared_data("sst2")) not in file.read_text()
    assert content["task"]["data"] == "sst2"
