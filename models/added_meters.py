"""A target's own metrics with those that callbacks add."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from ..contracts.batch import Batch
from .meter import Meter, Reading
from .scored import Scored


class AddedMeters(Meter):
    """Several meters read as one; a later one's metric replaces an earlier one's of the same name.

    Args:
        parts: the target's own first.
    """

    def __init__(self, parts: Sequence[Meter]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    @property
    def each(self) -> list[Meter]:
        return [part for part in self.parts if isinstance(part, Meter)]

    def update(self, scored: Scored, batch: Batch) -> None:
        super().update(scored, batch)
        for part in self.each:
            part.update(scored, batch)

    def readings(self) -> dict[str, Reading]:
        return merged(part.readings() for part in self.each)

    def tables(self) -> dict[str, Any]:
        return merged(part.tables() for part in self.each)


def merged(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in parts:
        found |= part
    return found
