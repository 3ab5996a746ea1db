"""Where a run keeps what it needs to go on, read without torch.

``RUN/checkpoints/state-00000120/`` holds ``state.safetensors``, ``manifest.json`` with the sha256 of every file, and
``best/``, the best weights as they were then. A folder gets its name only when it is whole.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import write_atomically

FORMAT = 1
MANIFEST = "manifest.json"
TENSORS = "state.safetensors"
BEST = "best"
CHECKPOINTS = "checkpoints"
NAME = re.compile(r"state-(\d{8,})")


def state_name(step: int) -> str:
    return f"state-{step:08d}"


def states(run: Path) -> list[Path]:
    """The training states of a run, the oldest first."""
    folder = run / CHECKPOINTS
    found = [path for path in folder.iterdir() if NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name.partition("-")[2]))


def latest_state(run: Path) -> Path | None:
    """The newest training state of a run; None where it has none."""
    found = states(run)
    return found[-1] if found else None


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """To be called last: the digest of every other file is among what is written."""
    files = {path.relative_to(folder).as_posix(): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    write_atomically(folder / MANIFEST, json.dumps({"format": FORMAT, **content, "files": files}, indent=1))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises:
    UserError: it is no training state, or one of another format.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{folder} is no training state of finelab ({MANIFEST} cannot be read: {error.strerror}); name a folder "
            "such as RUN/checkpoints/state-00000120, or go on with finelab fit --resume RUN."
        ) from error
    except ValueError as error:
        raise UserError(f"{folder / MANIFEST} is damaged ({error}); the run has to be made again.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("files"), dict):
        seen = content.get("format") if isinstance(content, dict) else content
        raise UserError(
            f"{folder / MANIFEST} has format {str(seen)[:40]!r} and this version of finelab reads {FORMAT}; go on with "
            "the version that wrote it."
        )
    return content


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of a training state of which every file is as it was written.

    Raises:
        UserError: a file is missing or is another one.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file() or digest(path) != expected:
            what = "is missing" if not path.is_file() else "is not the file that was written (its sha256 is another)"
            raise UserError(
                f"{path} {what}: the training state is damaged. Copy it again, or go on from an older one with "
                "--ckpt_path."
            )
    return manifest


def digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sweep(run: Path) -> None:
    """Take away what a killed process has left half-written, and put back what it was about to replace."""
    folder = run / CHECKPOINTS
    if not folder.is_dir():
        return
    for old in folder.glob(".*-previous"):
        target = folder / old.name[1:].removesuffix("-previous")
        if not target.exists():
            old.rename(target)
    for stray in folder.glob(".*"):
        shutil.rmtree(stray)
