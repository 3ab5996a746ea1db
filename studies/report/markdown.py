"""The answer and the tables as Markdown."""

import re

from ...contracts.inert import in_markdown, paragraph
from ..analysis.analysis import Analysis
from .cleaned import one_line
from .main_table import MainTable

LONGEST = 300


def as_markdown(analysis: Analysis, table: MainTable) -> str:
    """Question, verdict, table, caveats, cells without a result and the command."""
    parts = [f"# {text(analysis.question)}", "", f"Study {text(analysis.study)}.", ""]
    parts += [line for sentence in analysis.verdict for line in (paragraph(one_line(sentence)), "")]
    parts += [_row([text(column.title) for column in table.columns])]
    parts += [_row(["---" if column.text else "---:" for column in table.columns])]
    for row in table.rows:
        cells = [text(cell) for cell in row.cells]
        parts.append(_row([f"**{cell}**" if row.bold and i in (0, row.strong) else cell
                           for i, cell in enumerate(cells)]))  # fmt: skip
    parts += ["", " ".join(text(note) for note in table.notes), ""]
    parts += _list("What a reader has to know", [*analysis.caveats, *analysis.power])
    missing = [f"{u.arm}, seed {u.replicate} ({u.stage}): {u.state}, {u.reason}. {u.message} Log: {u.log}"
               for u in analysis.unfinished]  # fmt: skip
    parts += _list("Cells without a result", missing)
    fence = "`" * (1 + max([2, *map(len, re.findall("`+", analysis.command))]))
    return "\n".join([*parts, "## Once more", "", fence, one_line(analysis.command), fence, ""])


def text(content: str) -> str:
    """In a line, not longer than a table bears."""
    content = one_line(content)
    return in_markdown(content if len(content) <= LONGEST else f"{content[:LONGEST]}…")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _list(heading: str, sentences: list[str]) -> list[str]:
    return [f"## {heading}", "", *(f"- {paragraph(one_line(s))}" for s in sentences), ""] if sentences else []
