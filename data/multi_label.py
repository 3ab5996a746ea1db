"""Any number of labels for a text or a pair of texts."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..contracts.errors import UserError
from .rejections import BadRow
from .template import Example, checked_text, column
from .text_pair import TextPair


class MultiLabel(TextPair):
    """A text column, perhaps a second one, and the set of labels that hold, which may be empty.

    Args:
        text: column of the text.
        text_pair: column of the second text.
        labels: column with the list of a row's labels (names, or indices into ``names``); or the names of several
            columns of 0 and 1, which then are the labels.
        names: the labels; by default those of the training split in alphabetical order. A label that only another
            split has is a bad row.
    """

    target_kind = "labels"

    def __init__(
        self,
        text: str = "text",
        text_pair: str | None = None,
        labels: str | list[str] = "labels",
        names: list[str] | None = None,
    ) -> None:
        super().__init__(text, text_pair)
        if isinstance(labels, list) and names is not None:
            raise UserError("data.template: labels lists columns of 0 and 1, which are the names; remove names.")
        listed = labels if isinstance(labels, list) else names or []
        if repeated := [name for name, count in Counter(listed).items() if count > 1]:
            raise UserError(f"data.template: {repeated[0]!r} stands in the list of labels more than once.")
        self.labels = labels
        self.names = names

    def read_target(self, fields: Mapping[str, object]) -> Example:
        if isinstance(self.labels, list):
            return {"held": [name for name in self.labels if self._is_set(fields, name)]}
        value = column(fields, self.labels)
        if not isinstance(value, list):
            raise BadRow(f"the column {self.labels!r} holds no list ({type(value).__name__} {str(value)[:40]!r})")
        return {"held": sorted({self._name(item, self.labels) for item in value})}

    def _is_set(self, fields: Mapping[str, object], name: str) -> bool:
        value = column(fields, name)
        if str(value).strip() not in ("0", "1", "True", "False", "0.0", "1.0"):
            raise BadRow(f"the column {name!r} holds neither 0 nor 1 ({type(value).__name__} {str(value)[:40]!r})")
        return str(value).strip() in ("1", "True", "1.0")

    def _name(self, item: object, where: str) -> str:
        if isinstance(item, int) and not isinstance(item, bool) and self.names is not None:
            if not 0 <= item < len(self.names):
                raise BadRow(f"unknown label {item} (names lists {len(self.names)} labels, counted from 0)")
            return self.names[item]
        name = str(item) if isinstance(item, int) and not isinstance(item, bool) else checked_text(item, where).strip()
        if self.names is not None and name not in self.names:
            raise BadRow(f"unknown label {name!r} (names lists {', '.join(self.names)})")
        return name

    def label_names(self, train: Sequence[Example]) -> list[str]:
        if isinstance(self.labels, list) or self.names is not None:
            return list(self.labels if isinstance(self.labels, list) else self.names or [])
        return sorted({name for row in train for name in row["held"]})

    def refusals(self, examples: Sequence[Example], label_names: list[str] | None) -> list[str | None]:
        known = set(label_names or [])
        unknown = [[name for name in row["held"] if name not in known] for row in examples]
        here = ", ".join(sorted({name for row in examples for name in row["held"]}))
        seen = ", ".join(label_names or [])
        return [
            f"unknown label {names[0]!r} (training labels: {seen}; this split's: {here})" if names else None
            for names in unknown
        ]

    def answers(self, example: Example) -> tuple[str, ...]:
        return (", ".join(example["held"]) or "no label",)

    def encode_target(self, example: Example, index: Mapping[str, int]) -> list[int]:
        held = set(example.get("held", ()))
        return [int(name in held) for name in index]

    def label_counts(self, labels: np.ndarray, classes: int) -> np.ndarray:
        return labels.reshape(-1, classes).sum(0)

    def show(self, sample: Example, tokenizer: PreTrainedTokenizerBase, label_names: list[str] | None) -> str:
        held = [name for name, on in zip(label_names or [], sample["labels"], strict=True) if on]
        return f"{tokenizer.decode(sample['input_ids'])} => «{', '.join(held) or 'none'}»"
