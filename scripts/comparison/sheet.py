"""A table of runs before it is known how it will be shown."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One property of every run.

    Args:
        label: what it is.
        cells: one a run.
        part: of a property in several rows, which of them, e.g. ``gain``.
    """

    label: str
    cells: list[str]
    part: str = ""

    @property
    def heading(self) -> str:
        """The label where it stands alone, above a column."""
        return f"{self.label} {self.part}".strip()


@dataclass(frozen=True)
class Sheet:
    """Rows of properties, a column a run.

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
