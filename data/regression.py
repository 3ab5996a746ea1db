"""One number for a text or a pair of texts."""

import math
from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from .rejections import BadRow
from .template import Example, column
from .text_pair import TextPair


class Regression(TextPair):
    """A text column, perhaps a second one, and a number, kept in its own unit.

    Args:
        text: column of the text.
        text_pair: column of the second text, e.g. the other sentence of a similarity score.
        target: column of the number; a text that spells one counts (CSV has no types).
    """

    target_kind = "number"

    def __init__(self, text: str = "text", text_pair: str | None = None, target: str = "target") -> None:
        super().__init__(text, text_pair)
        self.target = target

    def read_target(self, fields: Mapping[str, object]) -> Example:
        value = column(fields, self.target)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise BadRow(f"the column {self.target!r} holds no number ({type(value).__name__} {str(value)[:40]!r})")
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise BadRow(f"the column {self.target!r} holds no number ({value!r:.40})") from None
        if not math.isfinite(number):
            raise BadRow(f"the number in column {self.target!r} is not finite ({value})")
        return {"target": number}

    def answers(self, example: Example) -> tuple[str, ...]:
        return (str(example["target"]),)

    def encode_target(self, example: Example, index: Mapping[str, int]) -> float:
        return example.get("target", 0.0)

    def notes(self, tokenizer: PreTrainedTokenizerBase, context: int) -> list[str]:
        return [f"nll is that of a normal error with variance 1 in the unit of column {self.target!r}"]

    def show(self, sample: Example, tokenizer: PreTrainedTokenizerBase, label_names: Sequence[str] | None) -> str:
        return f"{tokenizer.decode(sample['input_ids'])} => «{sample['labels']:g}»"
