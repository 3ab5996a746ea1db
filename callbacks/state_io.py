"""How a checkpoint reaches the disk: whole or not at all, and never as a pickle."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.utilities import rank_zero_warn

from ..contracts.disk import disk_faults
from ..contracts.errors import UserError
from ..contracts.files import remove_folder, whole_folder
from ..contracts.state_folder import BEST, INSTEAD, TENSORS, read_manifest, verify, write_manifest
from ..models.checkpoint_folder import stored_manifest
from .state_file import StateFile, read_state, state_file

OURS = "finelab"
"""Key of a checkpoint: what its manifest says beyond the files."""
LIGHTNINGS = {"pytorch-lightning_version", "state_dict", "loops"}
"""What Lightning reads of every checkpoint."""
NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)
"""What a file system says that has no hard links, or no more of them."""


class StateIO(CheckpointIO):
    """A checkpoint is a folder, see ``contracts.state_folder``.

    It is made in a scratch folder beside its place: every file is written and flushed to the disk, read back and
    compared with what was written, then the folder gets its name and its parent is flushed. A kill at any moment leaves
    the checkpoint before it, the new one, or both. Whoever calls takes the former ones away afterwards.

    Args:
        best: a folder of weights that goes into each checkpoint, as hard links.
    """

    def __init__(self, best: Path | None = None) -> None:
        self.best = best

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        """Raises:
        UserError: something in it is neither plain nor a tensor.
        DiskError: it cannot be written; the path and the bytes needed are named.
        """
        content = dict(checkpoint)
        said = {"step": checkpoint.get("global_step"), **content.pop(OURS, {})}
        state = state_file(content)
        with disk_faults(Path(path), state.size), whole_folder(Path(path)) as scratch:
            self._fill(scratch, state, said)

    def _fill(self, scratch: Path, state: StateFile, said: dict[str, Any]) -> None:
        written = state.write(scratch / TENSORS)
        if self.best is not None and self.best.is_dir():
            link_folder(self.best, scratch / BEST)
        if write_manifest(scratch, said, self._known(scratch))[TENSORS] != written:
            raise OSError(errno.EIO, "what was read back is not what was written", str(scratch / TENSORS))
        read_manifest(scratch)

    def _known(self, scratch: Path) -> dict[str, str]:
        """Digests of the best weights that are the very files whose digests their own manifest has."""
        if self.best is None or not self.best.is_dir():
            return {}
        digests, inner = stored_manifest(self.best)["files"], scratch / BEST
        names = [path.relative_to(inner).as_posix() for path in inner.rglob("*.safetensors")]
        linked = [name for name in names if name in digests and (inner / name).samefile(self.best / name)]
        return {f"{BEST}/{name}": digests[name] for name in linked}

    def load_checkpoint(
        self, path: _PATH, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Raises:
        UserError: it is no checkpoint of finelab, or a damaged one.
        """
        manifest = verify(Path(path))
        found = read_state(Path(path) / TENSORS)
        if missing := sorted(LIGHTNINGS - found.keys()):
            raise UserError(
                f"{Path(path) / TENSORS} is no training state of a run: it lacks {', '.join(missing)}. {INSTEAD}"
            )
        return found | {OURS: manifest}

    def remove_checkpoint(self, path: _PATH) -> None:
        """What cannot be taken away is no reason to end a run whose newer state is safe."""
        try:
            remove_folder(Path(path))
        except OSError as error:
            rank_zero_warn(f"{path} is no longer needed and could not be removed ({error}); remove it yourself.")


def link_folder(source: Path, target: Path) -> None:
    """Files of a checkpoint are replaced, never written into, so that a link keeps what it was made of."""
    target.mkdir(exist_ok=True)
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        place.mkdir() if path.is_dir() else link_or_copy(path, place)


def link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copy2(source, target)
