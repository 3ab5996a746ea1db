"""Folders written once and found again by key: whole or not at all, and checked when opened."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Entry:
    """An entry that was checked.

    Args:
        folder: where it lies.
        meta: what its builder said about it.
        state: ``cached``, ``built``, or why it was built anew.
    """

    folder: Path
    meta: dict[str, Any]
    state: str


def open_or_build(root: Path, key: str, build: Callable[[Path], dict[str, Any]]) -> Entry:
    """Open an entry, or build it; one of several processes builds, the others wait and open.

    Args:
        root: the cache's folder.
        key: the entry's name.
        build: fills an empty folder and returns a JSON-able description.
    """
    root.mkdir(parents=True, exist_ok=True)
    folder = root / key
    with FileLock(root / f"{key}.lock"):
        damage = _damage(folder) if folder.is_dir() else None
        if folder.is_dir() and damage is None:
            return Entry(folder, _manifest(folder)["meta"], "cached")
        with tempfile.TemporaryDirectory(dir=root, prefix=f"{key}.") as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            meta = build(made)
            _seal(made, meta)
            if folder.is_dir():
                shutil.rmtree(folder)
            os.rename(made, folder)
    # Read back, so that a start that builds and a start that opens see the same types.
    return Entry(folder, _manifest(folder)["meta"], "built" if damage is None else f"rebuilt: {damage}")


def _seal(folder: Path, meta: dict[str, Any]) -> None:
    files = {str(file.relative_to(folder)): _digest(file) for file in sorted(folder.rglob("*")) if file.is_file()}
    content = json.dumps({"files": files, "meta": meta})
    with (folder / MANIFEST).open("w") as stream:
        json.dump({"content": content, "digest": hashlib.blake2b(content.encode(), digest_size=16).hexdigest()}, stream)
        stream.flush()
        os.fsync(stream.fileno())


def _manifest(folder: Path) -> dict[str, Any]:
    return json.loads(json.loads((folder / MANIFEST).read_text())["content"])


def _damage(folder: Path) -> str | None:
    """What is wrong with an entry; None if nothing is."""
    try:
        sealed = json.loads((folder / MANIFEST).read_text())
        if hashlib.blake2b(sealed["content"].encode(), digest_size=16).hexdigest() != sealed["digest"]:
            return f"{MANIFEST} had changed"
        for name, digest in json.loads(sealed["content"])["files"].items():
            if _digest(folder / name) != digest:
                return f"{name} had changed"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} was missing"
    except (ValueError, KeyError, TypeError) as error:
        return f"{MANIFEST} was unreadable ({type(error).__name__})"
    return None


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
