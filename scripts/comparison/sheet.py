"""A table of runs before it is known how it will be shown."""

from dataclasses import dataclass, field

from ...contracts.inert import printable


@dataclass(frozen=True)
class Row:
    """One property of every run; whatever a file of the run calls it, nothing that a terminal would obey.

    Args:
        label: what it is.
        cells: one a run.
        part: of a property in several rows, which of them, e.g. ``gain``.
    """

    label: str
    cells: list[str]
    part: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", printable(self.label))
        object.__setattr__(self, "cells", list(map(printable, self.cells)))

    @property
    def heading(self) -> str:
        """The label where it stands alone, above a column."""
        return f"{self.label} {self.part}".strip()


@dataclass(frozen=True)
class Sheet:
    """Rows of properties, a column a run, printable like these.

    Args:
        title: what they have in common.
        columns: what stands above each column of cells: the runs' letters.
        rows: in the order in which one reads them.
        notes: sentences below.
    """

    title: str
    columns: list[str]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", printable(self.title))
        object.__setattr__(self, "notes", list(map(printable, self.notes)))
