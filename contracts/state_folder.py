"""Where a run keeps what it needs to go on, read without torch.

``RUN/checkpoints/state-00000120/`` holds ``state.safetensors``, ``manifest.json`` with the sha256 of every file, and
``best/``, the best weights as they were then. A folder gets its name only when it is whole.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import fault_of, file_digest, write_through
from .files import sweep as sweep_folder

FORMAT = 1
MANIFEST = "manifest.json"
TENSORS = "state.safetensors"
BEST = "best"
CHECKPOINTS = "checkpoints"
NAME = re.compile(r"state-(\d{8,})")
SEAL = "sha256"
LARGEST_MANIFEST = 2**26
"""Bytes; a manifest takes a few thousand."""
INSTEAD = (
    "Copy it again if it was copied here, or start the run again; the best weights so far are a folder of their own, "
    "RUN/checkpoints/best, which finelab test, predict and export --run RUN take."
)
"""What to do without a training state: a run keeps the newest one alone."""


def state_name(step: int) -> str:
    return f"state-{step:08d}"


def step_of(state: Path) -> int:
    return int(state.name.partition("-")[2])


def states(run: Path) -> list[Path]:
    """The training states of a run, the oldest first."""
    folder = run / CHECKPOINTS
    found = [path for path in folder.iterdir() if NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=step_of)


def latest_state(run: Path) -> Path | None:
    """The newest training state of a run; None where it has none."""
    found = states(run)
    return found[-1] if found else None


def write_manifest(folder: Path, content: dict[str, Any], known: dict[str, str] | None = None) -> dict[str, str]:
    """To be called last: the digest of every other file is among what is written, and is given back.

    Args:
        folder: of the training state.
        content: what else is to be said.
        known: digests of files that need not be read again.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: (known or {}).get(name) or file_digest(path) for name, path in paths.items()}
    whole = json.loads(json.dumps({"format": FORMAT, **content, "files": files}))  # keys are text when it is read
    text = json.dumps({**whole, SEAL: sealed(whole)}, indent=1)
    write_through(folder / MANIFEST, [text.encode()])
    return files


def sealed(manifest: dict[str, Any]) -> str:
    """Of a manifest's own values."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises:
    UserError: it is no training state, or one of another format.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UserError(
            f"{folder} {what}, and a training state of finelab is a folder such as RUN/checkpoints/state-00000120; "
            "pickles (.ckpt, .pt, .bin) are never read. Go on with finelab fit --resume RUN."
        )
    try:
        if path.stat().st_size > LARGEST_MANIFEST:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        if NAME.fullmatch(folder.name):
            raise UserError(
                f"{path} cannot be read: {error.strerror}; the training state is damaged. {INSTEAD}"
            ) from error
        raise UserError(
            f"{folder} is no training state of finelab ({MANIFEST} cannot be read: {error.strerror}); name a folder "
            "such as RUN/checkpoints/state-00000120, or go on with finelab fit --resume RUN."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged ({' '.join(str(error).split())[:200]}): it is not what finelab wrote. {INSTEAD}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("files"), dict):
        seen = content.get("format") if isinstance(content, dict) else content
        raise UserError(
            f"{path} has format {str(seen)[:40]!r} and this version of finelab reads {FORMAT}; go on with the version "
            "that wrote it."
        )
    if content.pop(SEAL, None) != sealed(content):
        raise UserError(
            f"{path} is not what finelab wrote there (its own {SEAL} is another): it is damaged or was changed. "
            f"{INSTEAD}"
        )
    return content


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of a training state of which every file is as it was written.

    Raises:
        UserError: a file is missing, is another one, or lies elsewhere.
    """
    manifest = read_manifest(folder)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or path.is_file()}
    unlisted = dict.fromkeys(sorted(present - {MANIFEST}))
    for name, expected in {**unlisted, TENSORS: None, **manifest["files"]}.items():
        if fault := fault_of(folder, name, expected):
            raise UserError(
                f"{folder / name} {fault}: the training state is damaged or was changed, and was not loaded. {INSTEAD}"
            )
    return manifest


def sweep(run: Path) -> None:
    """Take away what a killed process has left half-written, and put back what it was about to replace.

    Raises:
        UserError: the checkpoints lie elsewhere, where nothing may be taken away.
    """
    folder = run / CHECKPOINTS
    if folder.is_symlink():
        raise UserError(
            f"{folder} is a link to {folder.resolve()}, and a run writes and clears up in folders of its own only. "
            "Move the checkpoints into the run, or link the whole run."
        )
    for part in (run, folder, run / "predictions"):
        sweep_folder(part)
