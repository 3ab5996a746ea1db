"""A child dies with the process that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
WAITS = "from finelab.contracts.parent_death import die_with_parent; die_with_parent(); print('lives'); input()"


def start(program: str, parent: int | None) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "FINELAB_PARENT"}
    told = {} if parent is None else {"FINELAB_PARENT": str(parent)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", program], env=environment | told, **pipes)


@pytest.mark.parametrize("parent", [None, "this"])
def test_it_lives_while_its_parent_does(parent):
    child = start(WAITS, None if parent is None else os.getpid())
    assert child.communicate("\n", timeout=20)[0] == "lives\n" and child.returncode == 0


def test_one_whose_parent_was_gone_first_ends_at_once():
    child = start(WAITS, 1)
    assert child.communicate("", timeout=20)[0] == "" and child.returncode == -signal.SIGKILL


def test_one_whose_parent_is_killed_is_killed():
    program = (
        "import os, subprocess, sys; "
        "os.environ['FINELAB_PARENT'] = str(os.getpid()); "
        f"child = subprocess.Popen([sys.executable, '-c', {WAITS!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE); "
        "child.stdout.readline(); print(child.pid, flush=True); input()"
    )
    parent = start(program, None)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert Path(f"/proc/{child}").exists()
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{child}").exists()
