"""How a checkpoint reaches the disk: whole or not at all, and never as a pickle."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.utilities.types import _PATH

from ..contracts.files import replace_folder
from ..contracts.state_folder import BEST, TENSORS, verify, write_manifest
from .state_file import read_state, write_state

OURS = "finelab"
"""Key of a checkpoint: what its manifest says beyond the files."""


class StateIO(CheckpointIO):
    """A checkpoint is a folder, see ``contracts.state_folder``.

    Args:
        best: a folder of weights that goes into each checkpoint, as hard links.
    """

    def __init__(self, best: Path | None = None) -> None:
        self.best = best

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
        try:
            scratch.chmod(0o755)
            content = dict(checkpoint)
            said = content.pop(OURS, {})
            write_state(content, scratch / TENSORS)
            if self.best is not None and self.best.is_dir():
                shutil.copytree(self.best, scratch / BEST, copy_function=link_or_copy)
            write_manifest(scratch, {"step": checkpoint.get("global_step"), **said})
            replace_folder(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        verify(target)

    def load_checkpoint(
        self, path: _PATH, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Raises:
        UserError: it is no checkpoint of finelab, or a damaged one.
        """
        manifest = verify(Path(path))
        return read_state(Path(path) / TENSORS) | {OURS: manifest}

    def remove_checkpoint(self, path: _PATH) -> None:
        shutil.rmtree(path)


def link_or_copy(source: str, target: str) -> None:
    """Files of a checkpoint are replaced, never written into, so that a link keeps what it was made of."""
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
