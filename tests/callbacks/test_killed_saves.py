"""Real SIGKILLs at random during saves of states and best weights, with TMPDIR on this and on another file system.

One process has everything imported and forks the writers. The short form is part of the fast tests.
"""

import json
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
import torch

from finelab.callbacks.state_io import StateIO
from finelab.contracts.files import file_digest, whole_folder, write_through
from finelab.contracts.state_folder import latest_state, state_name, states, sweep

ELSEWHERE = Path("/dev/shm")
WEIGHTS = torch.arange(300_000, dtype=torch.float32)
LIGHTNINGS = {"pytorch-lightning_version": "2", "state_dict": {}, "loops": {}}
BEST = bytes(range(256)) * 2_000
WEIGHTS_FILE = "weights.safetensors"
LONGEST = 0.06
"""Seconds until a kill; a save takes about 5 ms, most of it in fsync."""


def write_for_ever(run: Path, start: int, pipe: int) -> None:
    """Saves as ``TrainingState`` and ``BestCheckpoint`` do; tells each step once it is safe."""
    best = run / "checkpoints" / "best"
    io = StateIO(best)
    for step in range(start, start + 1_000_000):
        if step % 3 == 0:
            with whole_folder(best) as scratch:
                digest = write_through(scratch / WEIGHTS_FILE, [BEST, step.to_bytes(8, "little")])
                write_through(scratch / "finelab.json", [json.dumps({"files": {WEIGHTS_FILE: digest}}).encode()])
        former, target = states(run), run / "checkpoints" / state_name(step)
        io.save_checkpoint(LIGHTNINGS | {"global_step": step, "weights": WEIGHTS, "at": torch.tensor(step)}, target)
        os.write(pipe, step.to_bytes(8, "little"))
        for old in former:
            io.remove_checkpoint(old)


def killed_after(seconds: float, run: Path, start: int) -> int:
    """The last step that a writer had told by the time of its death."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            write_for_ever(run, start, writer)
        finally:
            os._exit(1)
    os.close(writer)
    first = os.read(reader, 8)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    with os.fdopen(reader, "rb") as stream:
        told = first + stream.read()
    return int.from_bytes(told[-8:], "little")


def storm(run: Path, kills: int) -> int:
    """Kills one writer after another in the same run; gives the number of kills that left something half-made.

    Each time the newest state and the best weights are whole, none that was told is lost, and a sweep leaves no stray.
    """
    dice, caught, step = random.Random(7), 0, 0
    for _ in range(kills):
        told = killed_after(dice.uniform(0, LONGEST), run, step + 1)
        checkpoints = run / "checkpoints"
        caught += any(path.name.startswith(".") for path in checkpoints.iterdir())
        sweep(run)
        state = latest_state(run)
        assert state is not None
        found = StateIO().load_checkpoint(state)
        step = found["global_step"]
        assert step >= told and int(found["at"]) == step and torch.equal(found["weights"], WEIGHTS)
        for best in (checkpoints / "best", state / "best"):
            if best.exists():
                manifest = json.loads((best / "finelab.json").read_text())
                assert manifest["files"] == {WEIGHTS_FILE: file_digest(best / WEIGHTS_FILE)}
        left = {path.name for path in checkpoints.iterdir()}
        assert left <= {"best", *(path.name for path in states(run))} and len(states(run)) <= 2, left
    return caught


@pytest.fixture(params=["same", "other"])
def place(request, tmp_path, monkeypatch):
    """A run's folder, with TMPDIR on the same or on another file system."""
    if not ELSEWHERE.is_dir() or ELSEWHERE.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    temporary = tmp_path / "temporary"
    if request.param == "other":
        temporary = Path(tempfile.mkdtemp(dir=ELSEWHERE))
    temporary.mkdir(exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    yield tmp_path / "run"
    assert list(temporary.iterdir()) == [], "something was left in TMPDIR"
    shutil.rmtree(temporary)


def test_six_kills(place):
    storm(place, 6)


@pytest.mark.slow
def test_a_hundred_kills(place):
    caught = storm(place, 100)
    assert caught >= 30, "too few kills came while something was being written"
    print(f"{caught} of 100 kills came in the middle of a save")
