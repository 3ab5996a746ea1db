"""Turns as the text that a base reads, and exactly which part of it is the answer."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from jinja2 import TemplateError, TemplateSyntaxError
from transformers import PreTrainedTokenizerBase

from ..contracts.errors import UserError

Turn = dict[str, str]
"""``role`` (system, user or assistant) and ``content``."""

BUILT_IN_MARK = "{#- The built-in chat template"
"""How the built-in one begins, by which a checkpoint's copy of it is known."""

DAY = "2024-07-26"
"""The date that Llama's template writes where it is given none (a Friday)."""
PARTS_OF_DAY = {"%d": "26", "%m": "07", "%b": "Jul", "%B": "July", "%y": "24", "%Y": "2024", "%a": "Fri"}
PARTS_OF_DAY |= {"%A": "Friday", "%H": "00", "%M": "00", "%S": "00"}
FIXED_DAY = (
    "{%- macro strftime_now(format) -%}{{- format"
    + "".join(f" | replace('{code}', '{text}')" for code, text in PARTS_OF_DAY.items())
    + " -}}{%- endmacro %}{{ '' }}"  # behind a block, Jinja would take a line break from the template
)

Supervise = Literal["assistant", "last", "everything"]


class NoSample(ValueError):
    """Why one row's turns cannot be written down; in brackets the details."""


class TooLong(NoSample):
    """It does not fit into the context."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a conversation's text.

    Args:
        text: as the chat template wrote it; an answer that it does not end ends with EOS.
        supervised: whether its tokens are targets.
        content: of ``text``, what somebody said.
    """

    text: str
    supervised: bool
    content: str = ""


class ChatFormat:
    """A chat template bound to a tokenizer.

    Answers are found by rendering the turns before each of them with the generation prompt, and the turns up to and
    with it: what the second adds to the first is the answer and the end of its turn. That holds for every template
    whose shorter conversations are beginnings of the longer ones, which is checked for each row, and it makes the
    tokens before an answer the very ones that the model will be asked to continue.

    A template that asks for today's date always gets the same one, since tokens must not change from day to day.

    Args:
        tokenizer: of the base.
        template: Jinja text; None takes the tokenizer's own, else the built-in one (``conversation.jinja``).

    Raises:
        UserError: the template is no Jinja, or fails.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str | None = None) -> None:
        own = tokenizer.chat_template
        if isinstance(own, dict):
            own = own.get("default")
        self.tokenizer = tokenizer
        self.template: str = template or own or built_in()
        ours = self.template.startswith(BUILT_IN_MARK)
        self.origin = "built-in" if ours else "given" if template is not None else "own"
        self.dated = f"; its date is always {DAY}" if "strftime_now" in self.template else ""
        self._written = FIXED_DAY + self.template if self.dated else self.template
        with suppress(NoSample):  # it may want other turns
            self._render([{"role": "user", "content": "a"}])

    @property
    def _named(self) -> str:
        given = "data.template.init_args.chat_template"
        return given if self.origin == "given" else f"The chat template of {self.tokenizer.name_or_path}"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.template.encode()).hexdigest()[:16]

    @cached_property
    def control_tokens(self) -> tuple[str, ...]:
        """Texts that become special tokens wherever they stand."""
        added = [token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        return tuple(token for token in dict.fromkeys([*self.tokenizer.all_special_tokens, *added]) if token.strip())

    @cached_property
    def start(self) -> list[int]:
        """The token that stands before a conversation whose template writes none: the one that the tokenizer adds."""
        bos = self.tokenizer.bos_token_id
        if self.origin == "built-in":
            start = bos if bos is not None else self.tokenizer.eos_token_id
            return [start] if isinstance(start, int) else []
        adds_it = bos is not None and self.tokenizer("a")["input_ids"][0] == bos
        return [bos] if adds_it and isinstance(bos, int) else []

    @property
    def served(self) -> str:
        """The template for ``apply_chat_template``, which puts no token before it: it writes that token itself."""
        first: list[int] = []
        with suppress(NoSample):  # it may want other turns
            text = self._render([{"role": "user", "content": "a"}])
            first = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][:1]  # pyright: ignore[reportAssignmentType]
        missing = [] if first == self.start else self.tokenizer.convert_ids_to_tokens(self.start)
        return "".join(f"{{{{ {json.dumps(token)} }}}}" for token in missing) + self._written

    def prompt(self, turns: Sequence[Turn]) -> list[Piece]:
        """Turns that the model is to answer, as the beginning of the text that training would make of them.

        Raises:
            NoSample: the template refuses these turns, or a text holds a control token.
        """
        pieces, done = self._answers(turns)
        return [*pieces, Piece(self._added(done, self._render(turns, ask=True)), False)]

    def answered(self, turns: Sequence[Turn], supervise: Supervise) -> list[Piece]:
        """Turns up to an assistant's; what the template writes behind the end of the last one is left out.

        Raises:
            NoSample: as ``prompt``.
            UserError: the template does not write the answers so that they can be told from the rest.
        """
        pieces, _ = self._answers(turns)
        if supervise == "assistant":
            return pieces
        last = len(pieces) - 1
        wanted = [supervise == "everything" or i == last for i in range(len(pieces))]
        contents = "".join(turn["content"] for turn in turns if turn["role"] != "assistant")
        content = [
            contents if supervise == "everything" and i == 0 else piece.content for i, piece in enumerate(pieces)
        ]
        return [Piece(piece.text, own, text) for piece, own, text in zip(pieces, wanted, content, strict=True)]

    def _answers(self, turns: Sequence[Turn]) -> tuple[list[Piece], str]:
        """What stands up to the end of the last answer, and the same as the template writes it."""
        self._require_plain(turns)
        pieces: list[Piece] = []
        done = ""
        for i in (place for place, turn in enumerate(turns) if turn["role"] == "assistant"):
            asked, answered = self._render(turns[:i], ask=True), self._render(turns[: i + 1])
            pieces.append(Piece(self._added(done, asked), False))
            own = self._added(asked, answered)
            end, closed = self._end(own, turns[i]["content"])
            eos = "" if closed else str(self.tokenizer.eos_token)
            pieces.append(Piece(own[:end] + eos, True, turns[i]["content"]))
            done = asked + own[:end]
        return pieces, done

    def _end(self, text: str, content: str) -> tuple[int, bool]:
        """Behind the content and the token that ends the turn, and whether there is one."""
        lead = len(text) - len(text.lstrip())
        if not text[lead:].startswith(content):
            raise UserError(
                f"The chat template of {self.tokenizer.name_or_path} writes {text[:60]!r} where the assistant's turn "
                f"{content[:40]!r} should begin: it adds something between its generation prompt and the answer, or "
                "changes the answer, so that the answer's tokens cannot be told from the rest. Give another template "
                "with data.template.init_args.chat_template."
            )
        end = lead + len(content)
        rest = text[end:]
        eos = self.tokenizer.eos_token
        if isinstance(eos, str) and eos in rest:
            return end + rest.index(eos) + len(eos), True
        space = len(rest) - len(rest.lstrip())
        closing = next((token for token in self.control_tokens if rest[space:].startswith(token)), None)
        return (end, False) if closing is None else (end + space + len(closing), True)

    def _added(self, text: str, longer: str) -> str:
        if not longer.startswith(text):
            raise UserError(
                f"The chat template of {self.tokenizer.name_or_path} writes a longer conversation differently from its "
                f"beginning (at character {agreement(text, longer)}: {longer[agreement(text, longer) :][:40]!r} in the "
                f"place of {text[agreement(text, longer) :][:40]!r}), so that answers cannot be told from the rest. "
                "Give another template with data.template.init_args.chat_template."
            )
        return longer[len(text) :]

    def _render(self, turns: Sequence[Turn], ask: bool = False) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                list(turns), chat_template=self._written, tokenize=False, add_generation_prompt=ask
            )
        except TemplateSyntaxError as error:
            raise UserError(
                f"{self._named} is not valid Jinja (line {error.lineno}: {error.message}); correct it, or give another "
                "with data.template.init_args.chat_template."
            ) from error
        except TemplateError as error:
            raise NoSample(f"the chat template refuses these turns ({error})") from error
        except Exception as error:  # the template's own code may do anything
            raise UserError(
                f"{self._named} fails ({type(error).__name__}: {error}); correct it, or give another with "
                "data.template.init_args.chat_template."
            ) from error
        assert isinstance(text, str)
        return text

    def _require_plain(self, turns: Sequence[Turn]) -> None:
        for turn in turns:
            found = next((token for token in self.control_tokens if token in turn["content"]), None)
            if found is not None:
                raise NoSample(f"a text holds a control token of the tokenizer ({found!r})")


def template_text(given: str) -> str:
    """Jinja text as it was given, or that of a file.

    Raises:
        UserError: it is neither.
    """
    if given.endswith(".jinja"):
        file = Path(given).expanduser()
        if not file.is_file():
            raise UserError(f"data.template.init_args.chat_template: {given} is not there (looked from {Path.cwd()}).")
        return file.read_text(encoding="utf-8")
    if "{" not in given:
        raise UserError(
            f"data.template.init_args.chat_template is {given[:60]!r}: neither Jinja (it has no braces, and would "
            "write the same text for every row) nor a file whose name ends in .jinja."
        )
    return given


def agreement(text: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    return next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))


def built_in() -> str:
    return Path(__file__).with_name("conversation.jinja").read_text(encoding="utf-8")
