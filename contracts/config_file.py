"""A YAML file as its nodes, so that an error can name the line."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import yaml

from ..contracts.errors import UserError


@dataclass(frozen=True)
class Entry:
    """One key of a config file.

    Args:
        key: dotted, with list positions as numbers, e.g. ``model.init_args.regularizers.0.class_path``.
        value: the scalar's text; None for a mapping or a list.
        where: ``file:line``.
    """

    key: str
    value: str | None
    where: str


class ConfigLoader(yaml.SafeLoader):
    """Reads values as jsonargparse does: ``1e-4`` is a number, and a date is text."""

    yaml_implicit_resolvers: ClassVar[dict] = {  # pyright: ignore[reportIncompatibleVariableOverride]
        first: [(tag, pattern) for tag, pattern in found if not tag.endswith((":timestamp", ":float"))]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


ConfigLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
        |\.[0-9_]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
        re.X,
    ),
    list("-+0123456789."),
)


def read_entries(path: Path) -> list[Entry]:
    """Every key of a config file, in order.

    Raises:
        UserError: the file cannot be read, is no YAML, is no mapping, or says a key twice.
    """
    root = compose(path, read_text(path))
    return [] if root is None else list(_walk(root, "", path))


def read_text(path: Path) -> str:
    """Raises:
    UserError: the file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save the config file as UTF-8.") from error
    except OSError as error:
        raise UserError(f"The config file {path} cannot be read: {error.strerror}.") from error


def compose(path: Path, text: str) -> yaml.MappingNode | None:
    """The nodes of a file; None of an empty one.

    Raises:
        UserError: it is no YAML, or no mapping.
    """
    try:
        root = yaml.compose(text, Loader=ConfigLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(
            f"{path}{line} is not valid YAML: {error.problem}; check indentation, colons and brackets there."
        ) from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise UserError(
            f"{path}:{root.start_mark.line + 1} must hold keys such as model: and data: at the top level, got a "
            f"{'list' if isinstance(root, yaml.SequenceNode) else 'single value'}."
        )
    return root


def _walk(node: yaml.Node, prefix: str, path: Path) -> Iterator[Entry]:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key_node, value in node.value:
            name, line = str(key_node.value), key_node.start_mark.line + 1
            if name in seen:
                raise UserError(
                    f"{path}:{line} says {prefix}{name} a second time (first in line {seen[name]}); keep one."
                )
            seen[name] = line
            yield from _entry(f"{prefix}{name}", value, line, path)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield from _entry(f"{prefix}{position}", value, value.start_mark.line + 1, path)


def _entry(key: str, node: yaml.Node, line: int, path: Path) -> Iterator[Entry]:
    scalar = str(node.value) if isinstance(node, yaml.ScalarNode) else None
    yield Entry(key, scalar, f"{path}:{line}")
    yield from _walk(node, f"{key}.", path)


def nearest(name: str, names: list[str]) -> str:
    """``did you mean 'x'?``, or the names there are."""
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(names))}."
