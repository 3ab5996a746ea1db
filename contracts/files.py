"""Files and folders that are either wholly there or not there at all, also after a power cut.

What is being made or taken away is called ``.NAME.part-XXXXXXXX`` meanwhile, and what is being replaced ``.NAME.old``.
A killed process leaves such names behind, and ``sweep`` clears up after it.
"""

import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

PART = re.compile(r"\..+\.part-\w+")
OLD = re.compile(r"\.(.+)\.old")


def write_atomically(path: Path, text: str) -> None:
    """Write beside the target, flush to the disk, then rename over it.

    Args:
        path: the file; its folder is made where missing.
        text: UTF-8 content.
    """
    content = text.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = part_of(path)
    try:
        write_through(scratch, [content])
        os.replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    sync_to_disk(path.parent)


def write_through(path: Path, chunks: Iterable[bytes | memoryview]) -> str:
    """Write a new file, flush it to the disk, and give its sha256."""
    digest = hashlib.sha256()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        for chunk in chunks:
            left = memoryview(chunk).cast("B")
            digest.update(left)
            while left:
                left = left[os.write(handle, left) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    return digest.hexdigest()


def file_digest(file: Path) -> str:
    """The sha256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fault_of(folder: Path, name: str, expected: object) -> str | None:
    """What is wrong with one file of a manifest; None where nothing is."""
    path, inner = folder / name, Path(name)
    if inner.is_absolute() or ".." in inner.parts:
        return "lies outside of its folder"
    if any((folder / part).is_symlink() for part in (inner, *inner.parents[:-1])):
        return "is a link"
    if not path.is_file():
        return "is missing"
    try:
        found = file_digest(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if found == expected else "is not the file that was written (its sha256 is another)"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A scratch folder to fill, which takes the place of ``target`` where the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.part-"))
    try:
        scratch.chmod(0o755)
        yield scratch
        replace_folder(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def replace_folder(new: Path, target: Path) -> None:
    """Put a finished folder in the place of another; the old one stays until the new one is in place.

    Args:
        new: the folder just written, in the same parent as ``target``.
        target: where it belongs.
    """
    for path in sorted(new.rglob("*")):
        sync_to_disk(path)
    sync_to_disk(new)
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(target, old)
    try:
        os.rename(new, target)
    except OSError:
        if old.exists():
            os.rename(old, target)
        raise
    sync_to_disk(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Take a folder away: from the first moment on, what is left of it bears another name."""
    doomed = part_of(path)
    os.rename(path, doomed)
    shutil.rmtree(doomed)


def sweep(folder: Path) -> None:
    """Take away what a killed process has left half-made, and put back what it was about to replace.

    For the one process that writes there: the names are those of a writer at work as well.
    """
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        replaced = OLD.fullmatch(path.name)
        if replaced and not (folder / replaced[1]).exists():
            os.rename(path, folder / replaced[1])
        elif replaced or PART.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def part_of(path: Path) -> Path:
    """A name for what is to become ``path``, or is what remains of it."""
    return path.with_name(f".{path.name}.part-{secrets.token_hex(4)}")


def sync_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
