"""Dataclasses from the plain values that ``dataclasses.asdict`` and JSON make of them."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def plain(value: Any) -> Any:
    """Ready for JSON; every field of a dataclass by its name."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def typed(kind: Any, value: Any) -> Any:
    """A value of that type again: dataclasses, tuples, dicts, paths, and what JSON knows.

    Raises:
        TypeError: a dataclass has no such field, or lacks one.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return None if value is None else typed(next(each for each in inner if each is not type(None)), value)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: typed(hints.get(name, Any), each) for name, each in value.items()})  # pyright: ignore[reportCallIssue]
    if origin is tuple:
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(typed(one, each) for one, each in zip(kinds, value, strict=True))
    if origin is dict:
        return {name: typed(inner[1], each) for name, each in value.items()}
    if kind is Path:
        return Path(value)
    return float(value) if kind is float else value
