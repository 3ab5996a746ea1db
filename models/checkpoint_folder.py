"""``finelab.json``: what a folder of weights belongs to, so that it is never loaded into something else."""

import json
from pathlib import Path
from typing import Any

from ..contracts.errors import UserError

NAME = "finelab.json"
FORMAT = 1


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / NAME).write_text(json.dumps({"format": FORMAT, **manifest}, indent=1))


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
        return json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{file} is not valid JSON ({error}); the checkpoint is damaged, use another one.") from error


def read_manifest(folder: Path, expected: dict[str, Any]) -> None:
    """Check that a folder fits.

    Args:
        folder: a checkpoint folder.
        expected: the manifest of the module that wants to load it.

    Raises:
        UserError: no such checkpoint, or one of another base, target or label list.
    """
    stored = stored_manifest(folder)
    for key, wanted in {"format": FORMAT, **expected}.items():
        if key != "base" and stored.get(key) != wanted:  # one base may be reached by several names; the digest decides
            raise UserError(
                f"{folder / NAME}: {key} is {stored.get(key)!r}, and this model has {wanted!r}. The checkpoint was "
                f"trained from base {stored.get('base')!r}; load it with the config.yaml of its own run."
            )
