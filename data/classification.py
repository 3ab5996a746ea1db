"""One label for a text or a pair of texts."""

from collections import Counter
from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from ..contracts.errors import UserError
from .rejections import BadRow
from .template import Example, column, text_column
from .text_pair import TextPair

UNLABELLED = 0
"""The label of rows to predict: a stand-in that means nothing, so that losses computed by the way stay finite."""


class Classification(TextPair):
    """A text column, perhaps a second one, and a label.

    Classes are known by name: from ``names``, else from the ``label_text`` column where a row has it, else the label
    itself. Their order is that of ``names``, else of the whole-number labels, else alphabetical; it is taken from the
    training split, and a label that only another split has is a bad row.

    Args:
        text: column of the text.
        text_pair: column of the second text, e.g. the hypothesis of an entailment pair.
        label: column of the label, a whole number or a text; digits in a text count as a number (CSV has no types).
        label_text: column of the label's name; may be missing.
        names: the classes; a whole-number label is an index into it.
    """

    target_kind = "class"

    def __init__(
        self,
        text: str = "text",
        text_pair: str | None = None,
        label: str = "label",
        label_text: str = "label_text",
        names: list[str] | None = None,
    ) -> None:
        if names is not None and (repeated := [name for name, count in Counter(names).items() if count > 1]):
            raise UserError(f"data.template: names lists {repeated[0]!r} more than once.")
        super().__init__(text, text_pair)
        self.label = label
        self.label_text = label_text
        self.names = names

    def read_target(self, fields: Mapping[str, object]) -> Example:
        number, name = self._label(fields)
        return {"number": number, "name": name}

    def _label(self, fields: Mapping[str, object]) -> tuple[int | None, str]:
        value = column(fields, self.label)
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise BadRow(
                f"the label in column {self.label!r} is neither a whole number nor a text "
                f"({type(value).__name__} {str(value)[:40]!r})"
            )
        if isinstance(value, str):
            value = text_column(fields, self.label).strip()
        number = int(value) if isinstance(value, int) or (value.isascii() and value.isdigit()) else None
        if number is not None and number < 0:
            raise BadRow(f"the label in column {self.label!r} marks a row without a label ({number})")
        if self.names is not None:
            if number is not None and str(value) not in self.names:
                if number >= len(self.names):
                    raise BadRow(f"unknown label {number} (names lists {len(self.names)} classes, counted from 0)")
                return number, self.names[number]
            if str(value) not in self.names:
                raise BadRow(f"unknown label {value!r} (names lists {', '.join(self.names)})")
            return None, str(value)
        if fields.get(self.label_text) is not None and self.label_text != self.label:
            return number, text_column(fields, self.label_text).strip()
        return number, str(value)

    def label_names(self, train: Sequence[Example]) -> list[str]:
        """Raises:
        UserError: one class under two numbers or two names, or a single class.
        """
        if self.names is not None:
            return list(self.names)
        pairs = sorted({(row["number"], row["name"]) for row in train}, key=lambda pair: (pair[0] or 0, pair[1]))
        for position, kind in ((0, "label"), (1, "name")):
            counts = Counter(pair[position] for pair in pairs if pair[position] is not None)
            double = next((value for value, count in counts.items() if count > 1), None)
            if double is not None:
                others = [pair[1 - position] for pair in pairs if pair[position] == double]
                raise UserError(
                    f"data.template: the {kind} {double!r} stands beside {others} in the training split; columns "
                    f"{self.label!r} and {self.label_text!r} must name the same classes."
                )
        if any(number is None for number, _ in pairs):
            return sorted(name for _, name in pairs)
        return [name for _, name in pairs]

    def refusals(self, examples: Sequence[Example], label_names: list[str] | None) -> list[str | None]:
        known = set(label_names or [])
        seen = ", ".join(label_names or [])
        here = ", ".join(sorted({row["name"] for row in examples}))
        return [
            None
            if row["name"] in known
            else f"unknown label {row['name']!r} (training labels: {seen}; this split's: {here})"
            for row in examples
        ]

    def encode_target(self, example: Example, index: Mapping[str, int]) -> int:
        return index[example["name"]] if "name" in example else UNLABELLED

    def answers(self, example: Example) -> tuple[str, ...]:
        return (example["name"],)

    def show(self, sample: Example, tokenizer: PreTrainedTokenizerBase, label_names: list[str] | None) -> str:
        return f"{tokenizer.decode(sample['input_ids'])} => «{(label_names or [])[sample['labels']]}»"
