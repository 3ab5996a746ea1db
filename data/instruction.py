"""Instruction, input and output in columns, as the Alpaca data has them."""

from collections.abc import Mapping, Sequence
from typing import Literal

from .chat_format import Supervise, Turn
from .conversation import Conversation
from .template import text_column


class Instruction(Conversation):
    """The user gives an instruction, perhaps with an input below it; the assistant answers.

    Args:
        instruction: column of the instruction.
        input: column of the input; a row may lack it or leave it empty. An input too long is cut before the
            instruction is.
        output: column of the answer.
        system: column of what the system says before; a row may lack it or leave it empty. null for none.
        supervise: as ``Conversation``.
        too_long: as ``Conversation``.
        chat_template: as ``Conversation``.
    """

    def __init__(
        self,
        instruction: str = "instruction",
        input: str | None = "input",
        output: str = "output",
        system: str | None = None,
        supervise: Supervise = "assistant",
        too_long: Literal["error", "drop", "shorten"] = "error",
        chat_template: str | None = None,
    ) -> None:
        super().__init__(supervise, too_long, chat_template)
        self.instruction, self.input, self.output, self.system = instruction, input, output, system

    def conversation(self, fields: Mapping[str, object], labelled: bool) -> tuple[list[Turn], list[str]]:
        asked = [text_column(fields, self.instruction).strip(), optional_text(fields, self.input)]
        turns = [{"role": "user", "content": "\n\n".join(text for text in asked if text)}]
        if said := optional_text(fields, self.system):
            turns.insert(0, {"role": "system", "content": said})
        return turns, [text_column(fields, self.output).strip()] if labelled else []

    def values(self, fields: Mapping[str, object], turns: Sequence[Turn]) -> list[str]:
        # Each for itself: an instruction that many rows share must not make their inputs alike.
        return [optional_text(fields, name) for name in (self.system, self.instruction, self.input)]


def optional_text(fields: Mapping[str, object], name: str | None) -> str:
    """A column's text; empty where the row has none or nothing but white space.

    Raises:
        BadRow: it holds something else than text.
    """
    value = None if name is None else fields.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return ""
    return text_column(fields, str(name)).strip()
