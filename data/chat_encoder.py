"""Turns to tokens and targets, and to fewer tokens where they do not fit."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..contracts.batch import IGNORE
from .chat_format import ChatFormat, Piece, Supervise, TooLong, Turn


@dataclass
class Tokens:
    """A conversation in tokens; ``labels`` are IGNORE where nothing is supervised."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    prompt: int = 0
    chars: int = 0
    bytes: int = 0

    @property
    def targets(self) -> int:
        return sum(label != IGNORE for label in self.labels)


class Encoder:
    """Turns to tokens.

    Args:
        chat: writes the turns as text.
        supervise: what is a target.
    """

    def __init__(self, chat: ChatFormat, supervise: Supervise) -> None:
        self.chat = chat
        self.supervise: Supervise = supervise

    def encode(self, turns: Sequence[Turn]) -> Tokens:
        """An assistant's turn at the end is an answer to learn; without one the text ends where the answer belongs.

        Raises:
            NoSample: see ``ChatFormat``.
        """
        if turns[-1]["role"] != "assistant":
            return self._tokens([Piece(piece.text, False) for piece in self.chat.prompt(turns)])
        return self._tokens(self.chat.answered(turns, self.supervise))

    def _tokens(self, pieces: Sequence[Piece]) -> Tokens:
        tokens = Tokens()
        first = self._ids(pieces[0].text)
        tokens.ids = list(self.chat.start if first[:1] != self.chat.start else [])
        tokens.labels = [IGNORE] * len(tokens.ids)
        text, joined = "", []
        for piece in pieces:
            text += piece.text
            # Left to right, so that what comes before an answer never depends on the answer.
            longer = self._ids(text)
            new = longer[len(joined) :] if longer[: len(joined)] == joined else self._ids(piece.text)
            tokens.ids += new
            tokens.labels += new if piece.supervised else [IGNORE] * len(new)
            if piece.supervised:
                tokens.chars += len(piece.content)
                tokens.bytes += len(piece.content.encode())
            text, joined = self._needed(text, [*joined, *new])
        tokens.labels[0] = IGNORE  # nothing comes before it that could predict it
        tokens.prompt = next((i for i, label in enumerate(tokens.labels) if label != IGNORE), len(tokens.ids))
        return tokens

    def _needed(self, text: str, ids: list[int]) -> tuple[str, list[int]]:
        """What the tokens of a longer text can still depend on.

        Fast tokenizers cut a text at its control tokens before anything else and look at each part by itself (of which
        they only ask whether it is the first), so that behind a control token nothing before it matters.
        """
        if self.chat.tokenizer.is_fast:
            for token, own in self._closings.items():
                if text.endswith(token) and ids[-1:] == own:
                    return token, own
        return text, ids

    @cached_property
    def _closings(self) -> dict[str, list[int]]:
        """The control tokens that are one token by themselves, the longest first."""
        found = {token: self._ids(token) for token in sorted(self.chat.control_tokens, key=len, reverse=True)}
        return {token: ids for token, ids in found.items() if len(ids) == 1}

    def cut(self, text: str, tokens: int) -> tuple[str, int]:
        """A text without about its last ``tokens`` tokens, but at least its first character; and how many it lost."""
        size = len(self._ids(text))
        if tokens < size and self.chat.tokenizer.is_fast:
            offsets = self.chat.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)[
                "offset_mapping"
            ]
            end = offsets[size - tokens][0]
        else:
            end = len(text) * max(0, size - tokens) // size
        kept = text[: min(end, len(text) - 1)].rstrip() or text[:1]
        return kept, tokens if len(kept) > 1 else size - len(self._ids(kept))

    def _ids(self, text: str) -> list[int]:
        return self.chat.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]  # pyright: ignore[reportReturnType]


def shortened(encoder: Encoder, turns: Sequence[Turn], whole: Tokens, limit: int) -> Tokens:
    """The conversation in at most ``limit`` tokens: the longest turn of the prompt loses its end, then the next one.

    How much text that is, the tokens of each turn alone tell nearly; what is left over is seen by encoding anew.

    Args:
        encoder: which made ``whole``.
        turns: of the conversation.
        whole: all its tokens, more than ``limit``.
        limit: most tokens.

    Raises:
        TooLong: the answers and the frame alone are too long.
    """
    own = [dict(turn) for turn in turns]
    surplus = len(whole.ids) - limit
    prompt = sorted((turn for turn in own if turn["role"] != "assistant"), key=lambda turn: -len(turn["content"]))
    for turn in prompt:
        while len(turn["content"]) > 1:
            turn["content"], lost = encoder.cut(turn["content"], surplus)
            surplus -= lost
            if surplus <= 0:
                tokens = encoder.encode(own)
                surplus = len(tokens.ids) - limit
                if surplus <= 0:
                    return tokens
    tokens = encoder.encode(own)
    if len(tokens.ids) <= limit:
        return tokens
    raise TooLong(f"too long for the context even without its prompt (more than {limit} tokens)")
