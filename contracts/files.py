"""Files and folders that are either wholly there or not there at all, also after a power cut."""

import os
import shutil
import tempfile
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Write beside the target, flush to the disk, then rename over it.

    Args:
        path: the file; its folder is made where missing.
        text: UTF-8 content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    sync_to_disk(path.parent)


def replace_folder(new: Path, target: Path) -> None:
    """Put a finished folder in the place of another; the old one stays until the new one is in place.

    Args:
        new: the folder just written, in the same parent as ``target``.
        target: where it belongs.
    """
    for path in sorted(new.rglob("*")):
        sync_to_disk(path)
    sync_to_disk(new)
    old = target.with_name(f".{target.name}-previous")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.rename(target, old)
    os.rename(new, target)
    sync_to_disk(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
