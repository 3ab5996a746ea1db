"""What stands on a terminal, as text for a page."""

import io

from rich.console import Console, RenderableType

WIDTH = 100


def as_text(content: RenderableType) -> str:
    """Without colours, in ``WIDTH`` columns; only what may not be broken is longer."""
    console = Console(width=WIDTH, file=io.StringIO(), color_system=None)
    console.print(content, crop=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def as_code(text: str) -> str:
    """An indented Markdown block: a fence could be closed by what it holds."""
    return "\n".join(f"    {line}" for line in text.splitlines())
