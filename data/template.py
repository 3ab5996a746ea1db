"""From a row's columns to tokens and targets."""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..contracts.batch import IGNORE, Batch
from ..contracts.targets import TargetKind
from .collate import PadCollator
from .rejections import BadRow
from .token_dataset import Sample

Example = dict[str, Any]
"""The checked columns of a row, as ``Template.read`` returned them."""


class Template(ABC):
    """What a row means.

    Attributes:
        target_kind: what the labels are, which a model must learn (``contracts.targets``); None is not checked.
        cuts: whether a row beyond the context loses tokens; one that is cut into windows loses none.
        packable: the targets are the sample's own next tokens, so that samples may share a row (``data.packing``).
        asks_for_text: samples of rows to predict have no ``labels``, so that the model writes an answer.

    Subclasses keep their arguments as attributes of the same names: those attributes are part of the cache's key.
    """

    target_kind: ClassVar[TargetKind | None] = None
    cuts = True
    packable = False
    asks_for_text = False

    @abstractmethod
    def read(self, fields: Mapping[str, object], labelled: bool) -> Example:
        """Check one row and take what is needed.

        Args:
            fields: column -> value.
            labelled: False for rows to predict, which need the texts alone.

        Raises:
            BadRow: the row cannot be used.
        """

    @abstractmethod
    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: PreTrainedTokenizerBase,
        context: int,
        label_names: list[str] | None,
    ) -> list[Example]:
        """Tokens of some rows, in order; a row may give several samples.

        Returns:
            Per sample: ``row`` (position in ``examples``), ``input_ids``, ``labels`` (``contracts.batch``; left out
            where a row to predict asks for text),
            ``full_tokens`` (of the whole row, before any cut), ``supervised`` (how many targets), and optionally
            ``token_type_ids``, ``chars`` and ``bytes`` (what the supervised tokens stand for), ``choice_tokens`` (of a
            row whose ``input_ids`` are several texts one after the other: the length of each), and for the audit
            ``cut_words`` (tagged words beyond the context),
            ``shortened`` (tokens taken from the prompt so that the sample fits), ``prompt_tokens`` and
            ``answers_left_out`` (of the row's answers, those that do not fit). All samples have the same keys. An entry
            of ``row`` and ``refused``, "why (details)", says why a row gives no sample; what happens then is up to
            ``data.on_bad_row``, or to the entry's ``policy`` (``error`` or ``skip``) where it has one.
        """

    @abstractmethod
    def texts(self, example: Example) -> tuple[str, ...]:
        """The texts that make two rows the same row."""

    def answers(self, example: Example) -> tuple[str, ...]:
        """What the model is to answer, in words, for the audit; empty where the text itself is the target."""
        return ()

    def supervised_texts(self, example: Example) -> tuple[str, ...]:
        """Of a template that counts characters: the texts that supervised tokens should stand for."""
        return self.texts(example)

    @abstractmethod
    def show(self, sample: Example, tokenizer: PreTrainedTokenizerBase, label_names: list[str] | None) -> str:
        """One sample decoded, its supervised part between « and »."""

    def label_names(self, train: Sequence[Example]) -> list[str] | None:
        """The classes in the order of their indices; None where there are none."""
        return None

    def refusals(self, examples: Sequence[Example], label_names: list[str] | None) -> list[str | None]:
        """Per row of a split, why it does not fit to the training split; None where it does."""
        return [None] * len(examples)

    def label_counts(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """How often each class is a target.

        Args:
            labels: all labels of a split, one after the other.
            classes: how many there are.

        Returns:
            [classes].
        """
        return np.bincount(labels[labels != IGNORE], minlength=classes)

    def collator(self, pad_id: int) -> Callable[[Sequence[Sample]], Batch]:
        """How samples become a batch of ``contracts.batch``."""
        return PadCollator(pad_id)

    def notes(self, tokenizer: PreTrainedTokenizerBase, context: int) -> list[str]:
        """Rules that a reader of the metrics must know, for the report."""
        return []

    def settings(self) -> dict[str, object]:
        """What the tokens depend on, as JSON."""
        return {"template": f"{type(self).__module__}.{type(self).__qualname__}", **vars(self)}


def column(fields: Mapping[str, object], name: str) -> object:
    """A column's value.

    Raises:
        BadRow: there is no such column; the nearest one is named.
    """
    if name not in fields:
        near = difflib.get_close_matches(name, list(fields), 1)
        hint = (
            f"did you mean {near[0]!r}?" if near else f"there are {', '.join(map(repr, list(fields)[:12])) or 'none'}"
        )
        raise BadRow(f"no column {name!r} ({hint})")
    return fields[name]


def text_column(fields: Mapping[str, object], name: str) -> str:
    """A column's text.

    Raises:
        BadRow: missing, of another type, empty, or with characters that no text holds.
    """
    value = checked_text(column(fields, name), name)
    if not any(char.isprintable() and not char.isspace() for char in value):
        raise BadRow(f"the text in column {name!r} holds no visible character ({value[:10]!r})")
    return value


def references(fields: Mapping[str, object], name: str) -> list[str]:
    """The texts of a column that holds one or a list of them, each once, without space around it.

    Raises:
        BadRow: as ``text_column``, of any of them; or the list is empty.
    """
    listed = column(fields, name)
    if not isinstance(listed, list):
        return [text_column(fields, name).strip()]
    if not listed:
        raise BadRow(f"the column {name!r} lists no reference")
    return list(dict.fromkeys(text_column({name: text}, name).strip() for text in listed))


def checked_text(value: object, name: str) -> str:
    """A value of a column, or of a list in it, as a text.

    Raises:
        BadRow: of another type, empty, or with characters that no text holds.
    """
    if not isinstance(value, str):
        raise BadRow(f"the column {name!r} holds no text ({type(value).__name__} {str(value)[:40]!r})")
    if not value.strip():
        raise BadRow(f"the text in column {name!r} is empty")
    if "\x00" in value:
        raise BadRow(f"the text in column {name!r} holds a NUL character (at {value.index(chr(0)) + 1})")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRow(
            f"the text in column {name!r} is not valid Unicode (lone surrogate at character {error.start + 1})"
        ) from None
    return value
