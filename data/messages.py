"""Conversations of any number of turns in one column."""

from collections.abc import Mapping
from typing import Literal

from .chat_format import Supervise, Turn
from .conversation import Conversation
from .rejections import BadRow
from .template import column, text_column

ROLES = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "human": "user",
    "gpt": "assistant",
}


class Messages(Conversation):
    """A list of ``{role, content}``; also of ``{from, value}`` with ``human`` and ``gpt``, as ShareGPT has it.

    A system turn without text is left out. The last turn is the assistant's; to predict, it is what has to be found and
    is left away where it stands.

    Args:
        messages: column of the list.
        supervise: as ``Conversation``.
        too_long: as ``Conversation``.
        chat_template: as ``Conversation``.
    """

    def __init__(
        self,
        messages: str = "messages",
        supervise: Supervise = "assistant",
        too_long: Literal["error", "drop", "shorten"] = "error",
        chat_template: str | None = None,
    ) -> None:
        super().__init__(supervise, too_long, chat_template)
        self.messages = messages

    def conversation(self, fields: Mapping[str, object], labelled: bool) -> tuple[list[Turn], list[str]]:
        listed = column(fields, self.messages)
        if not isinstance(listed, list) or not listed:
            raise BadRow(f"the column {self.messages!r} holds no list of turns ({str(listed)[:40]!r})")
        entries = [(number, entry) for number, entry in enumerate(listed, start=1) if not is_blank_system(entry)]
        turns = [turn_of(entry, number) for number, entry in entries]
        if all(turn["role"] != "user" for turn in turns):
            raise BadRow("no turn is the user's")
        if next(turn["role"] for turn in turns if turn["role"] != "system") == "assistant":
            raise BadRow("the assistant speaks before the user")
        is_answered = turns[-1]["role"] == "assistant"
        if labelled and not is_answered:
            raise BadRow(f"the last turn is not the assistant's (it is the {turns[-1]['role']}'s)")
        return (turns[:-1], [turns[-1]["content"]]) if is_answered else (turns, [])


def names_of(entry: Mapping[str, object]) -> tuple[str, str]:
    return ("from", "value") if "from" in entry else ("role", "content")


def is_blank_system(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    role, content = (entry.get(name) for name in names_of(entry))
    return role == "system" and (content is None or (isinstance(content, str) and not content.strip()))


def turn_of(entry: object, number: int) -> Turn:
    """One turn, checked.

    Raises:
        BadRow: not a turn, another role, or no text.
    """
    if not isinstance(entry, dict):
        raise BadRow(f"turn {number} is no object ({str(entry)[:40]!r})")
    names = names_of(entry)
    role = ROLES.get(str(entry.get(names[0])))
    if role is None:
        raise BadRow(f"turn {number} has an unknown role ({entry.get(names[0])!r}; there are {', '.join(ROLES)})")
    try:
        return {"role": role, "content": text_column(entry, names[1]).strip()}
    except BadRow as error:
        raise BadRow(f"turn {number}: {error}") from None
