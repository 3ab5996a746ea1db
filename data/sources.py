"""Where rows come from: JSONL, JSONL.gz, CSV and Parquet files, or a data set of the hub."""

import difflib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..contracts.errors import UserError
from ..contracts.uri import HUB_ID
from .files import READERS, suffix_of
from .rejections import Reject, Row

if TYPE_CHECKING:
    from datasets import Dataset

ALIASES = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
}
"""What a split may be called in a file name, a key or on the hub -> what it is called here."""


class Source(ABC):
    """Rows of one or more splits, each with the place where it stands.

    A data set of one's own is a subclass with these four methods, or simply files.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What the report calls it."""

    @abstractmethod
    def splits(self) -> list[str]:
        """Which of train, validation and test there are; a single ``train`` is split by fractions."""

    @abstractmethod
    def digest(self) -> str:
        """A digest of the content: equal content, equal digest, wherever it lies."""

    @abstractmethod
    def read(self, split: str, reject: Reject) -> Iterator[Row]:
        """The rows of one split in a fixed order; a row that cannot be read is handed to ``reject(where, why)``."""

    def details(self) -> dict[str, str]:
        """Lines of its own for the report, known after reading: heading -> text."""
        return {}


def as_source(source: "Source | dict[str, str] | str | Path") -> Source:
    """A file, a folder of files named after splits, one file per split, or a hub data set id.

    Raises:
        UserError: nothing of that name, or a split that is none.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, dict):
        return FileSource({_split_name(key): _existing(Path(file)) for key, file in source.items()})
    path = Path(source).expanduser()
    if path.is_dir():
        return FileSource(_files_of(path))
    if isinstance(source, Path):
        return FileSource({"train": _existing(path)})
    looks_like_path = source.startswith((".", "/", "~")) or suffix_of(path) in READERS
    if path.is_file() or looks_like_path or not HUB_ID.fullmatch(source.partition("@")[0]):
        return FileSource({"train": _existing(path)})
    return HubSource(source)


class FileSource(Source):
    """Files on this machine.

    Args:
        files: split -> file.
    """

    def __init__(self, files: dict[str, Path]) -> None:
        self.files = files
        for file in files.values():
            if suffix_of(file) not in READERS:
                raise UserError(f"{file} ends in none of {', '.join(READERS)}; convert it, or rename it to what it is.")

    @property
    def name(self) -> str:
        files = list(self.files.values())
        parents = {file.parent for file in files}
        return str(parents.pop()) if len(parents) == 1 and len(files) > 1 else ", ".join(map(str, files))

    def splits(self) -> list[str]:
        return list(self.files)

    def digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for split, file in sorted(self.files.items()):
            try:
                with file.open("rb") as stream:
                    content = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
            except OSError as error:  # a folder, a link to nothing, no permission
                raise UserError(f"{file} cannot be read ({error.strerror}).") from error
            digest.update(f"{split}{suffix_of(file)}{content}".encode())
        return digest.hexdigest()

    def read(self, split: str, reject: Reject) -> Iterator[Row]:
        file = self.files[split]
        return READERS[suffix_of(file)](file, reject)


class HubSource(Source):
    """A data set of the hub, through ``datasets.load_dataset`` (downloaded once, then read from its cache).

    A ``ClassLabel`` column ``c``, or one with lists of them, gets a companion ``c_text`` with the names, unless there
    is one.

    Args:
        identifier: ``owner/name``, with ``@revision`` behind it to pin one.
    """

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier

    @property
    def name(self) -> str:
        return self.identifier

    @cached_property
    def dataset(self) -> "dict[str, Dataset]":
        """The splits under our names.

        Raises:
            UserError: no such data set, or the hub cannot be reached.
        """
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError

        from ..contracts.hub import go_offline_without_hub

        go_offline_without_hub()
        path, _, revision = self.identifier.partition("@")
        try:
            loaded = load_dataset(path, revision=revision or None)
        except (DatasetsError, OSError, ValueError) as error:
            near = _nearest(Path(path))
            raise UserError(
                f"The source {self.identifier!r} is no file or folder here (looked from {Path.cwd()}) and the hub gave "
                f"no data set of that name: {str(error).splitlines()[0]}. {near or 'Check the name and the network.'}"
            ) from error
        known = {ALIASES[str(key)]: loaded[key] for key in loaded if str(key) in ALIASES}
        if not known:
            raise UserError(f"{self.identifier} has the splits {list(loaded)}; one of {list(ALIASES)} is needed.")
        return known

    def splits(self) -> list[str]:
        return list(self.dataset)

    def digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for split, dataset in sorted(self.dataset.items()):
            digest.update(f"{split}{dataset.features}".encode())
            for column in dataset.data.columns:
                for chunk in column.chunks:
                    for buffer in chunk.buffers():
                        digest.update(buffer or b"")
        return digest.hexdigest()

    def read(self, split: str, reject: Reject) -> Iterator[Row]:
        from datasets import ClassLabel, List

        dataset = self.dataset[split]
        named = {}
        for column, feature in dataset.features.items():
            inner = feature.feature if isinstance(feature, List) else feature
            if isinstance(inner, ClassLabel) and f"{column}_text" not in dataset.features:
                named[column] = inner.names
        for number, fields in enumerate(dataset, start=1):
            row = dict(fields)
            for column, names in named.items():
                value = row[column]
                found = [
                    names[item] if isinstance(item, int) and item >= 0 else None
                    for item in (value if isinstance(value, list) else [value])
                ]
                row[f"{column}_text"] = found if isinstance(value, list) else found[0]
            yield Row(f"{self.identifier}/{split}:{number}", row)


def _split_name(key: str) -> str:
    if key not in ALIASES:
        near = difflib.get_close_matches(key, ALIASES, 1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(ALIASES)}."
        raise UserError(f"data.source: {key!r} is not the name of a split; {hint}")
    return ALIASES[key]


def _files_of(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        suffix = suffix_of(file)
        split = ALIASES.get(file.name.removesuffix(suffix)) if suffix in READERS else None
        if split in found:
            raise UserError(
                f"{folder} holds {found[split].name} and {file.name}, both {split}; name one file per split."
            )
        if split is not None:
            found[split] = file
    if not found:
        names = ", ".join(file.name for file in sorted(folder.iterdir())[:8]) or "nothing"
        raise UserError(
            f"The folder {folder} holds no train, validation or test file ending in {', '.join(READERS)} (it holds "
            f"{names}); rename them, or give data.source one file per split."
        )
    return {split: found[split] for split in ("train", "validation", "test") if split in found}


def _nearest(path: Path) -> str:
    parent = path.parent
    while not parent.is_dir():
        path, parent = parent, parent.parent
    near = difflib.get_close_matches(path.name, [entry.name for entry in parent.iterdir()], 1)
    return f"Did you mean {parent / near[0]}?" if near else ""


def _existing(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_file():
        kind = "is a folder; give one file per split" if path.is_dir() else "is not there"
        raise UserError(f"data.source: {path} {kind} (looked from {Path.cwd()}). {_nearest(path)}".rstrip())
    return path
