"""Text that stays text wherever it is shown: no orders to a terminal, no markup, no formula.

Names of arms, labels, samples and messages come from files that others wrote.
"""

import re
from typing import Any

MARKUP = re.compile(r"([\\`*_\[\]<>|#~&$])")
LINKED = re.compile(r"://|www\.|@|(?:mailto|xmpp):", re.IGNORECASE)
BLOCK = re.compile(r"^(\s*)(\d*)([-+=.)])")
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?")
FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def printable(text: str, keep: str = "") -> str:
    """Control characters, bidirectional overrides, lone surrogates and blanks of no width as escapes that can be seen.

    Args:
        text: anything.
        keep: characters that stay as they are, e.g. a line feed.
    """
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)


def in_markdown(text: str) -> str:
    """Text that Markdown shows as it is within a line: no element, no link, not even of a bare address, no formula."""
    escaped = MARKUP.sub(r"\\\1", printable(text))
    return LINKED.sub(lambda found: re.sub(r"([:.@])", r"\\\1", found[0], count=1), escaped)


def paragraph(text: str) -> str:
    """The same as a paragraph of its own: a dash or a number in front makes no list."""
    return BLOCK.sub(r"\1\2\\\3", in_markdown(text))


def in_csv(value: Any) -> Any:
    """A cell that no spreadsheet runs: text that begins like a formula, and is no number, gets an apostrophe."""
    if not isinstance(value, str):
        return value
    shown = printable(value)
    return shown if not shown.startswith(FORMULA) or NUMBER.fullmatch(shown) else f"'{shown}"
