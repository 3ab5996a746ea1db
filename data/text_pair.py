"""What templates over one text or a pair of texts share: the columns, the tokens, the cut."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from .template import Example, Template, text_column


class TextPair(Template):
    """A text column, perhaps a second one, and a target of the row.

    A row beyond the context loses tokens at the end of its longer text, which the report counts.

    Args:
        text: column of the text.
        text_pair: column of the second text, e.g. the hypothesis of an entailment pair.
    """

    def __init__(self, text: str, text_pair: str | None) -> None:
        self.text = text
        self.text_pair = text_pair

    @abstractmethod
    def read_target(self, fields: Mapping[str, object]) -> Example:
        """The checked target of a row.

        Raises:
            BadRow: it cannot be used.
        """

    @abstractmethod
    def encode_target(self, example: Example, index: Mapping[str, int]) -> Any:
        """``labels`` of a sample; a stand-in that means nothing where the row is to be predicted.

        Args:
            example: as read.
            index: label name -> position.
        """

    def read(self, fields: Mapping[str, object], labelled: bool) -> Example:
        example: Example = {"text": text_column(fields, self.text)}
        if self.text_pair is not None:
            example["text_pair"] = text_column(fields, self.text_pair)
        return example | self.read_target(fields) if labelled else example

    def texts(self, example: Example) -> tuple[str, ...]:
        return (example["text"], example["text_pair"]) if self.text_pair is not None else (example["text"],)

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: PreTrainedTokenizerBase,
        context: int,
        label_names: list[str] | None,
    ) -> list[Example]:
        index = {name: position for position, name in enumerate(label_names or [])}
        pairs = [example["text_pair"] for example in examples] if self.text_pair is not None else None
        encoded = encode_cut(tokenizer, [example["text"] for example in examples], pairs, context)
        return [
            {"row": row, "labels": self.encode_target(example, index), "supervised": 1, **own}
            for row, (example, own) in enumerate(zip(examples, encoded, strict=True))
        ]


def encode_cut(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], pairs: list[str] | None, context: int
) -> list[Example]:
    """``input_ids``, ``full_tokens`` and, of pairs where the tokenizer marks segments, ``token_type_ids`` of each."""
    encoded = tokenizer(texts, pairs, verbose=False)
    segments = pairs is not None and marks_segments(tokenizer)
    found: list[Example] = []
    for row, text in enumerate(texts):
        own = {name: encoded[name][row] for name in ("input_ids", *(["token_type_ids"] if segments else []))}
        size = len(own["input_ids"])
        if size > context:
            cut = tokenizer(text, pairs[row] if pairs is not None else None, truncation=True, max_length=context)
            own = {name: cut[name] for name in own}
        found.append({"full_tokens": size, **own})
    return found


def marks_segments(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the second text of a pair has another segment id than the first, as encoders like BERT want it."""
    return 1 in tokenizer("a", "b").get("token_type_ids", [])
