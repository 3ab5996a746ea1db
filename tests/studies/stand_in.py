"""A child that stands in for ``finelab cell``: the standard library only, a hundredth of a second.

    python stand_in.py FOLDER

What it does is ``child`` in the cell's configuration: ``fates``, one for each attempt (the last one for all further),
``seconds`` that each takes, and the ``record`` that it leaves.
"""

import ctypes
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path


def write(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.part-{os.getpid()}")
    scratch.write_text(text)
    os.replace(scratch, path)


def leave_record(folder: Path, cell: dict, status: str) -> None:
    said = {"status": status, "seeds": cell["seeds"], "config_digest": cell["config_digest"]}
    if status != "finished":
        said["error"] = {"type": "MadeUp", "message": f"made up: {status}"}
    (folder / "run").mkdir(exist_ok=True)
    write(folder / "run" / "record.json", json.dumps(cell["config"]["child"]["record"] | said))


def stop(number: int, frame: object) -> None:
    (FOLDER / "run" / "checkpoints" / "state-00000001").mkdir(parents=True, exist_ok=True)
    leave_record(FOLDER, CELL, "interrupted")
    os._exit(128 + number)


def main() -> int:
    lock = os.open(FOLDER / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 75
    os.pwrite(lock, f"{os.getpid()} {os.uname().nodename}\n".encode(), 0)
    child = CELL["config"]["child"]
    count = FOLDER / "attempts"
    attempt = int(count.read_text()) if count.exists() else 0
    write(count, str(attempt + 1))
    fates = child["fates"]
    fate = fates[min(attempt, len(fates) - 1)]
    signal.signal(signal.SIGTERM, signal.SIG_IGN if fate == "deaf" else stop)
    time.sleep(child["seconds"])
    if fate == "finish":
        leave_record(FOLDER, CELL, "finished")
    elif fate.startswith("failed: "):
        leave_record(FOLDER, CELL, fate)
    elif fate in ("hang", "deaf"):
        time.sleep(600)
    elif fate == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fate == "step":
        (FOLDER / "run" / "checkpoints" / f"state-{attempt + 1:08d}").mkdir(parents=True)
        os.kill(os.getpid(), signal.SIGKILL)
    elif fate == "say":
        print("Traceback (most recent call last):\nValueError: made up")
    elif fate == "full":
        print("OSError: [Errno 28] No space left on device")
    elif fate == "refuse":
        print("finelab: made up: refused.")
    return {"finish": 0, "lie": 0, "refuse": 2}.get(fate, 1)


if __name__ == "__main__":
    if "FINELAB_PARENT" in os.environ:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(os.environ["FINELAB_PARENT"]):
            sys.exit(1)
    FOLDER = Path(sys.argv[1])
    CELL = json.loads((FOLDER / "cell.json").read_text())
    code = main()
    sys.stdout.flush()
    os._exit(code)
