"""An analysis without anything that does what text should not do."""

import dataclasses
from typing import Any, TypeVar

from ...contracts.inert import printable

T = TypeVar("T")
LINES = "\n\t"


def cleaned(content: T) -> T:
    """The same with every text printable, keys as well as values; line feeds and tabs stay, for samples have them.

    Args:
        content: a dataclass, a mapping, a sequence, a text or a number, nested at will.
    """
    return _cleaned(content)


def one_line(text: str) -> str:
    """Text that stands in a table, a figure or a sentence."""
    return " ".join(text.split())


def _cleaned(content: Any) -> Any:
    if isinstance(content, str):
        return printable(content, LINES)
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        own = {field.name: _cleaned(getattr(content, field.name)) for field in dataclasses.fields(content)}
        return dataclasses.replace(content, **own)
    if isinstance(content, dict):
        return {_cleaned(key): _cleaned(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(_cleaned(item) for item in content)
    return content
