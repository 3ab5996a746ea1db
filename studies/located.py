"""One value of a study file with its place, so that every error names key and line."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ..contracts.config_file import ConfigLoader, compose, nearest, read_text
from ..contracts.errors import UserError

PLAIN = tuple(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge"))
DEEPEST = 40


@dataclass(frozen=True)
class Located:
    """One value.

    Args:
        path: of the file.
        key: dotted; empty of the whole file.
        node: of YAML.
        line: where its key stands.
    """

    path: Path
    key: str
    node: yaml.Node
    line: int

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"

    def wrong(self, what: str) -> UserError:
        """``FILE:LINE sets KEY: VALUE, WHAT``."""
        value = f": {self.node.value}" if isinstance(self.node, yaml.ScalarNode) else ""
        return UserError(f"{self.where} sets {self.key}{value}, {what}")

    # ---- what it is

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_nothing(self) -> bool:
        return self.node.tag.endswith(":null")

    @cached_property
    def entries(self) -> dict[str, "Located"]:
        """Of a mapping; names as they are written, so that ``on`` and ``0.10`` stay what they are.

        Raises:
            UserError: it is none, or says a key twice.
        """
        if self.is_nothing:
            return {}
        if not isinstance(self.node, yaml.MappingNode):
            raise self.wrong("but expected is a mapping of names to values.")
        found: dict[str, Located] = {}
        for name_node, node in self.node.value:
            name, line = self._name(name_node), name_node.start_mark.line + 1
            key = f"{self.key}.{name}" if self.key else name
            if name in found:
                raise UserError(
                    f"{self.path}:{line} says {key} a second time (first in line {found[name].line}); keep one."
                )
            found[name] = Located(self.path, key, node, line)
        return found

    def _name(self, node: yaml.Node) -> str:
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.ScalarNode):
            raise UserError(f"{self.path}:{line} has a list or a mapping in the place of a key; write a name.")
        if node.tag.endswith(":merge"):
            raise UserError(f"{self.path}:{line} merges with <<, which study files do not know; write the keys out.")
        return str(node.value)

    def items(self) -> Iterator["Located"]:
        """Of a list.

        Raises:
            UserError: it is none.
        """
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.wrong("but expected is a list.")
        for position, node in enumerate(self.node.value):
            yield Located(self.path, f"{self.key}.{position}", node, node.start_mark.line + 1)

    # ---- what it says

    def only(self, known: Collection[str]) -> dict[str, "Located"]:
        """The entries, all of which are known.

        Raises:
            UserError: another one.
        """
        for name, entry in self.entries.items():
            if name not in known:
                inside = f"{self.key} has" if self.key else "a study file has"
                raise entry.wrong(f"but {inside} no key {name!r}; {nearest(name, list(known))}")
        return self.entries

    @property
    def written(self) -> str:
        """A scalar as it stands there: ``0.10`` and ``on`` are not numbers or truths yet.

        Raises:
            UserError: it is no scalar.
        """
        if not isinstance(self.node, yaml.ScalarNode) or self.is_nothing:
            raise self.wrong("but expected is one value.")
        return str(self.node.value)

    def choice(self, known: Collection[str]) -> str:
        """Raises:
        UserError: none of these.
        """
        if self.written not in known:
            raise self.wrong(f"but it is one of {', '.join(known)}; {nearest(self.written, list(known))}")
        return self.written

    def integer(self, least: int) -> int:
        """Raises:
        UserError: no integer, or too small.
        """
        value = self.plain()
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.wrong(f"but expected is an integer of at least {least}.")
        return value

    def number(self) -> float:
        """Raises:
        UserError: none, or not finite.
        """
        value = self.plain()
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
            raise self.wrong("but expected is a number.")
        return value

    def plain(self) -> Any:
        """As YAML means it.

        Raises:
            UserError: an anchor inside of itself.
        """
        loader = ConfigLoader("")
        try:
            return self._plain(self.node, loader, 0)
        except (yaml.YAMLError, ValueError) as error:
            raise self.wrong(f"which YAML cannot read: {' '.join(str(error).split())}.") from error

    def _plain(self, node: yaml.Node, loader: ConfigLoader, depth: int) -> Any:
        line = node.start_mark.line + 1
        if depth > DEEPEST:
            raise UserError(f"{self.path}:{line} nests {self.key} more than {DEEPEST} deep; write it plainly.")
        if isinstance(node, yaml.MappingNode):
            entries = Located(self.path, self.key, node, line).entries
            return {name: entry._plain(entry.node, loader, depth + 1) for name, entry in entries.items()}
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(value, loader, depth + 1) for value in node.value]
        return loader.construct_object(node)


def read_located(path: Path) -> tuple[Located, str]:
    """The whole of a file, and its text.

    Raises:
        UserError: it cannot be read, is no YAML or no mapping.
    """
    text = read_text(path)
    node = compose(path, text)
    if node is None:
        raise UserError(f"{path} is empty; a study file says at least study, base, factors, baseline and metric.")
    _require_plain(path, node, set())
    return Located(path, "", node, 1), text


def _require_plain(path: Path, node: yaml.Node, seen: set[int]) -> None:
    """Raises:
    UserError: a tag, which could name code.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    if node.tag not in PLAIN:
        raise UserError(
            f"{path}:{node.start_mark.line + 1} has the YAML tag {node.tag.replace('tag:yaml.org,2002:', '!!')}; study "
            "files hold plain values, lists and mappings only."
        )
    children = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    for child in () if isinstance(node, yaml.ScalarNode) else children:
        _require_plain(path, child, seen)
