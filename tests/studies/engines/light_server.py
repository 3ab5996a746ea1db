"""The server of forked cells without its imports: a cell writes what it sees into its folder and follows its plan."""

import atexit
import json
import os
import random
import signal
import sys
import time
import types
from pathlib import Path

import numpy

from finelab.contracts.parent_death import die_with_parent
from finelab.scripts import warm

SHARED = []


def handles() -> list[str]:
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return sorted(os.readlink(link) for link in links if os.path.exists(link))


def look(folder: Path, words: list[str]) -> None:
    said = {
        "words": words,
        "shared": SHARED,
        "pid": os.getpid(),
        "group": os.getpgid(0),
        "draws": [random.random(), numpy.random.rand()],
        "environment": dict(os.environ),
        "stdin": sys.stdin.read(),
        "sigchld": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
        "sigint": signal.getsignal(signal.SIGINT) == signal.default_int_handler,
        "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "handles": handles(),
    }
    (folder / "said.json").write_text(json.dumps(said))
    print("printed by", folder.name)


def follow(folder: Path, plan: str) -> int:
    if plan in ("child", "leave a child"):
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
        (folder / "part").write_text(str(pid))
        (folder / "part").rename(folder / "grandchild")
    if plan == "child":
        time.sleep(60)
    if plan == "raise":
        raise ValueError("a mistake of the cell")
    if plan == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return int(plan) if plan.isdigit() else 0


def main() -> int:
    sys.modules["torch"] = types.SimpleNamespace(default_generator=types.SimpleNamespace(seed=lambda: None))
    die_with_parent()
    server = warm.WarmServer(os.dup(0), os.dup(1))
    os.dup2(2, 1)
    words = server.serve()
    if words is None:
        return 0
    folder = Path(words[1])
    SHARED.append(folder.name)
    look(folder, words)
    atexit.register(lambda: (folder / "left").write_text("whole"))
    return follow(folder, (folder / "plan").read_text())


if __name__ == "__main__":
    sys.exit(main())
