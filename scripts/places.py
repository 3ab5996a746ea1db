"""Where a key was said: the command line, or a line of a config file. The last one to say it counts."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..contracts.config_diff import plain
from ..contracts.config_file import Entry
from .invocation import Invocation


@dataclass(frozen=True)
class Place:
    """A key as it was written.

    Args:
        where: ``file:line``, or "The command line".
        key: as written there.
        value: as written there; None for a mapping or a list, or where it was not found.
        classes: the class path beside the key's ``init_args``.
    """

    where: str
    key: str
    value: str | None
    classes: str | None = None

    def sets(self) -> str:
        """The start of the paragraph."""
        between = " " if self.key.startswith("--") else ": "
        return f"{self.where} sets {self.key}" + (f"{between}{self.value}" if self.value is not None else "")

    def init_args(self, name: str) -> str:
        """The key of an argument of the class that stands here."""
        if self.key.startswith("--"):
            return f"{self.key.rstrip('+').removesuffix('.class_path')}.{name}"
        return f"{self.key.removesuffix('.class_path')}.init_args.{name}"


def places(invocation: Invocation) -> Iterator[Place]:
    """Every key that was said, the one that counts first."""
    for key, value in reversed(list(invocation.options())):
        yield Place("The command line", f"--{key}", value)
    for path in reversed(invocation.configs):
        entries = invocation.entries[path]
        classes = {entry.key.removesuffix(".class_path"): entry.value for entry in entries if is_class(entry)}
        for entry in reversed(entries):
            yield Place(entry.where, entry.key, entry.value, classes.get(entry.key.rpartition(".init_args.")[0]))


def is_class(entry: Entry) -> bool:
    return entry.key.endswith(".class_path")


def find_key(invocation: Invocation, key: str, owner: str = "") -> Place:
    """Where a key of a class was said.

    Args:
        invocation: the command line and its config files.
        key: without init_args and list positions.
        owner: class path whose argument it is; tells the entries of a list apart.
    """
    said = [place for place in places(invocation) if plain(place.key.removeprefix("--")) == key]
    return next((place for place in said if place.classes == owner), said[0] if said else nowhere(invocation, key))


def find_class(invocation: Invocation, key: str, path: str) -> Place:
    """Where a class was named, as ``class_path`` or in place of the whole entry."""
    keys = (key, f"{key}.class_path")
    said = [place for place in places(invocation) if plain(place.key.removeprefix("--")) in keys]
    found = next((place for place in said if place.value == path), None)
    return found or Place(nowhere(invocation, key).where, key, path)


def nowhere(invocation: Invocation, key: str) -> Place:
    where = " and ".join(map(str, invocation.configs)) or "The command line"
    return Place(where, key, None)
