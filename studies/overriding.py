"""Overrides put onto a configuration, as plain values: what stands in the one parse that follows."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from .study import Overrides

OPEN = ("trainer",)
"""Groups that are no class: a mapping for them is merged, key by key."""
NO_ARGUMENTS = ("class_path", "init_args", "dict_kwargs")


class NoPlace(Exception):
    """A key that leads through something that holds no keys; the message says what."""


def overridden(config: dict[str, Any], overrides: Overrides) -> dict[str, Any]:
    """A configuration with some keys changed.

    ``init_args`` may be left out of a key, a number is a place in a list, and a ``+`` at its end appends to a list. A
    value takes the place of what was there whole, a class with all its arguments; only a mapping without ``class_path``
    for a class or for the trainer is merged.

    Args:
        config: is left as it is.
        overrides: key -> value.

    Raises:
        NoPlace: a key that leads nowhere.
    """
    config = deepcopy(config)
    for key, value in overrides.items():
        put(config, key, deepcopy(value))
    return config


def put(config: dict[str, Any], key: str, value: Any) -> None:
    """In place."""
    parts = key.rstrip("+").split(".")
    if parts[-1] == "class_path" and len(parts) > 1:  # the class alone: nothing of the old one's arguments stays
        parts, value = parts[:-1], {"class_path": value}
    holder = config
    for depth, part in enumerate(parts[:-1]):
        holder = _below(holder, part, ".".join(parts[: depth + 1]))
    name, holder = _place(holder, parts[-1], ".".join(parts))
    before = holder[name] if isinstance(holder, list) else holder.get(name)
    if key.endswith("+"):
        holder[name] = [*(before or []), *(value if isinstance(value, list) else [value])]
    elif _is_merged(key, before, value):
        for inner, each in value.items():
            put(config, f"{key}.{inner}", each)
    else:
        holder[name] = value


def _is_merged(key: str, before: Any, value: Any) -> bool:
    is_class = isinstance(before, dict) and "class_path" in before
    return isinstance(value, dict) and "class_path" not in value and (key in OPEN or is_class or _is_arguments(key))


def _is_arguments(key: str) -> bool:
    return key.endswith(".init_args")


def _place(holder: Any, part: str, key: str) -> tuple[Any, Any]:
    """Where the part of a key stands: a name and what holds it."""
    if isinstance(holder, list):
        if not part.isdigit() or int(part) >= len(holder):
            raise NoPlace(f"{key} is a place in a list of {len(holder)}")
        return int(part), holder
    if not isinstance(holder, dict):
        raise NoPlace(f"{key.rpartition('.')[0]} is {holder!r} and holds no keys")
    if "class_path" in holder and part not in NO_ARGUMENTS:
        holder["init_args"] = holder.get("init_args") or {}
        holder = holder["init_args"]
    return part, holder


def _below(holder: Any, part: str, key: str) -> Any:
    name, holder = _place(holder, part, key)
    if isinstance(holder, dict) and holder.get(name) is None:
        holder[name] = {}
    if isinstance(holder[name], str) and "." in holder[name]:  # a class written as its path alone
        holder[name] = {"class_path": holder[name]}
    return holder[name]


def look_up(config: dict[str, Any], key: str) -> Any:
    """The value of a key, written as for ``overridden``.

    Raises:
        NoPlace: there is none.
    """
    found: Any = config
    parts = key.split(".")
    for depth, part in enumerate(parts):
        so_far = ".".join(parts[: depth + 1])
        if isinstance(found, dict) and "class_path" in found and part not in NO_ARGUMENTS:
            found = found.get("init_args") or {}
        if isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, dict) and part in found:
            found = found[part]
        else:
            raise NoPlace(f"{so_far} is not there")
    return found


def keys_set(overrides: Overrides) -> Iterator[str]:
    """Of overrides the keys, without ``init_args``."""
    for key in overrides:
        yield ".".join(part for part in key.split(".") if part not in ("init_args", "dict_kwargs"))
