"""A prompt and its response in two columns."""

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Literal

from ..contracts.errors import UserError
from .chat_format import Supervise, Turn
from .conversation import Conversation
from .template import references, text_column


class PromptResponse(Conversation):
    """One question and one answer.

    Args:
        prompt: column of the prompt, or a text with columns in braces: ``"Translate to German: {en}"``.
        response: the same for the response; a column may hold a list of references, and each becomes a sample.
        system: what the system says before, with columns in braces if wanted; null for nothing.
        supervise: as ``Conversation``.
        too_long: as ``Conversation``.
        chat_template: as ``Conversation``.
    """

    def __init__(
        self,
        prompt: str = "prompt",
        response: str = "response",
        system: str | None = None,
        supervise: Supervise = "assistant",
        too_long: Literal["error", "drop", "shorten"] = "error",
        chat_template: str | None = None,
    ) -> None:
        super().__init__(supervise, too_long, chat_template)
        self.prompt, self.response, self.system = prompt, response, system
        for name, value in (("prompt", prompt), ("response", response), ("system", system or "")):
            require_format(name, value)

    def conversation(self, fields: Mapping[str, object], labelled: bool) -> tuple[list[Turn], list[str]]:
        turns = [{"role": "user", "content": filled(fields, self.prompt)}]
        if self.system is not None:
            said = filled(fields, self.system) if "{" in self.system else self.system
            turns.insert(0, {"role": "system", "content": said})
        return turns, self._responses(fields) if labelled else []

    def _responses(self, fields: Mapping[str, object]) -> list[str]:
        return [filled(fields, self.response)] if "{" in self.response else references(fields, self.response)

    def values(self, fields: Mapping[str, object], turns: Sequence[Turn]) -> list[str]:
        prompt = columns_of(self.prompt) if "{" in self.prompt else [self.prompt]
        return [text_column(fields, name).strip() for name in dict.fromkeys([*columns_of(self.system or ""), *prompt])]


def columns_of(pattern: str) -> list[str]:
    """The columns that a format names."""
    return [name for _, name, _, _ in Formatter().parse(pattern) if name]


def filled(fields: Mapping[str, object], pattern: str) -> str:
    """A column's text, or a format with the texts of its columns, without space around it."""
    if "{" not in pattern:
        return text_column(fields, pattern).strip()
    return pattern.format_map({name: text_column(fields, name).strip() for name in columns_of(pattern)}).strip()


def require_format(argument: str, pattern: str) -> None:
    """Raises:
    UserError: braces that name no column.
    """
    try:
        parts = list(Formatter().parse(pattern))
    except ValueError as error:
        raise UserError(f"data.template.init_args.{argument} is {pattern!r}: {error}; write {{column}}.") from error
    for _, name, spec, conversion in parts:
        if name is not None and (not name.isidentifier() or spec or conversion):
            raise UserError(
                f"data.template.init_args.{argument} is {pattern!r}: {{{name}}} has to be the plain name of a column "
                "(a brace itself is written twice)."
            )
