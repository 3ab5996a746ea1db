"""``finelab.json``: what a folder of weights belongs to, so that it is never loaded into something else."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..contracts.errors import UserError
from ..contracts.files import fault_of, file_digest

NAME = "finelab.json"
FORMAT = 2
NAMES = ("base", "base_revision")
"""What one base may be called in several ways; the digest decides."""


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """To be called last: the digests of the weight files are among what is written."""
    files = {file.relative_to(folder).as_posix(): file_digest(file) for file in sorted(folder.rglob("*.safetensors"))}
    (folder / NAME).write_text(json.dumps({"format": FORMAT, **manifest, "files": files}, indent=1))


def require_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Raises:
    UserError: a weight file is missing or is not the one that was written.
    """
    present = {file.relative_to(folder).as_posix() for file in folder.rglob("*.safetensors")}
    if unlisted := sorted(present - manifest["files"].keys()):
        raise UserError(
            f"{folder} holds {unlisted[0]}, which its {NAME} does not list: the checkpoint was changed, and was not "
            "loaded. Use another one, or copy the folder again."
        )
    for name, digest in manifest["files"].items():
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} has no {name}, and this checkpoint is of no use without it; only safetensors are read, "
                "never pickles. Use another checkpoint, or put the file back."
            )
        if fault := fault_of(folder, name, digest) or unreadable(folder / name):
            raise UserError(
                f"{folder / name} {fault}: the checkpoint is damaged or was changed, and was not loaded. Use another "
                "one, or copy the folder again."
            )


def unreadable(file: Path) -> str | None:
    """What keeps safetensors from reading a file; None where nothing does."""
    try:
        with safe_open(file, framework="pt"):
            return None
    except SafetensorError as error:
        return f"is no file of safetensors ({error})"


def described(method: object) -> dict[str, Any]:
    """A method's class and the settings that are plain values, as JSON has them."""
    settings = json.loads(json.dumps(vars(method), default=lambda value: type(value).__name__))
    return {"class": type(method).__name__, "settings": settings}


def stored_manifest(folder: Path) -> dict[str, Any]:
    """What a checkpoint folder says of itself.

    Raises:
        UserError: it is no checkpoint folder, or a damaged one.
    """
    file = folder / NAME
    if not file.is_file():
        raise UserError(
            f"{folder} is no checkpoint folder of finelab (it has no {NAME}); give a run's checkpoints/best."
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not valid JSON ({error}); the checkpoint is damaged, use another one.") from error
    if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
        raise UserError(f"{file} does not list the files of a checkpoint; it is damaged, use another one.")
    return content


def read_manifest(folder: Path, expected: dict[str, Any]) -> None:
    """Check that a folder fits.

    Args:
        folder: a checkpoint folder.
        expected: the manifest of the module that wants to load it.

    Raises:
        UserError: no such checkpoint, one of another base, adapter, target or label list, or a damaged one.
    """
    stored = stored_manifest(folder)
    if stored.get("format") != FORMAT:
        raise UserError(
            f"{folder / NAME} has format {stored.get('format')!r} and this version of finelab reads {FORMAT}; load it "
            "with the version that wrote it, or train the run again."
        )
    require_same(stored, expected, str(folder / NAME))
    require_files(folder, stored)


def require_same(stored: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    """Raises:
    UserError: what was stored belongs to another base, adapter, target or label list.
    """
    for key, wanted in expected.items():
        if key not in NAMES and stored.get(key) != wanted:
            raise UserError(
                f"{where}: {key} is {stored.get(key)!r}, and this model has {wanted!r}. The checkpoint was "
                f"trained from base {stored.get('base')!r}; load it with the config.yaml of its own run."
            )


def require_shapes(state: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> None:
    """Raises:
    UserError: a training state does not hold exactly what this model trains.
    """
    wanted = {name: tuple(p.shape) for name, p in parameters.items() if p.requires_grad}
    found = {name: tuple(x.shape) for name, x in state.items()}
    if found != wanted:
        odd = min(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        raise UserError(
            f"The training state holds {len(found)} tensors and this model trains {len(wanted)}; the first that "
            f"differs is {odd!r}: {found.get(odd, 'missing')} there, {wanted.get(odd, 'not trained')} here. Go on with "
            "the config.yaml of its own run."
        )
