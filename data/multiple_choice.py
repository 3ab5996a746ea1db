"""A question and the texts to choose from."""

from collections.abc import Callable, Mapping, Sequence
from string import ascii_uppercase

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ..contracts.batch import Batch
from .collate import PadCollator, padded
from .rejections import BadRow
from .template import Example, Template, checked_text, column, text_column
from .text_pair import encode_cut
from .token_dataset import Sample


class MultipleChoice(Template):
    """Each choice is read behind its question, as the second text of a pair; numbers of choices may differ.

    A pair beyond the context loses tokens at the end of its longer text.

    Args:
        question: column of the question.
        context: column of a text to read before the question, if any.
        choices: column with the list of choices, at least two.
        answer: column of the right one: its text, its letter (A is the first), or its index counted from 0.
    """

    target_kind = "choice"

    def __init__(
        self,
        question: str = "question",
        context: str | None = None,
        choices: str = "choices",
        answer: str = "answer",
    ) -> None:
        self.question = question
        self.context = context
        self.choices = choices
        self.answer = answer

    def read(self, fields: Mapping[str, object], labelled: bool) -> Example:
        parts = [text_column(fields, name) for name in (self.context, self.question) if name is not None]
        value = column(fields, self.choices)
        if not isinstance(value, list):
            raise BadRow(f"the column {self.choices!r} holds no list ({type(value).__name__} {str(value)[:40]!r})")
        if len(value) < 2:
            raise BadRow(f"the column {self.choices!r} holds fewer than two choices ({len(value)})")
        example: Example = {"question": " ".join(parts), "choices": [checked_text(x, self.choices) for x in value]}
        return example | {"answer": self._answer(fields, example["choices"])} if labelled else example

    def _answer(self, fields: Mapping[str, object], choices: list[str]) -> int:
        value = column(fields, self.answer)
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise BadRow(
                f"the answer in column {self.answer!r} is neither a number nor a text "
                f"({type(value).__name__} {str(value)[:40]!r})"
            )
        text = str(value).strip()
        if isinstance(value, str) and text in (stripped := [choice.strip() for choice in choices]):
            if stripped.count(text) > 1:
                raise BadRow(f"the answer in column {self.answer!r} is the text of several choices ({text[:40]!r})")
            return stripped.index(text)
        if text.isascii() and text.isdigit():
            place = int(text)
        else:
            place = ascii_uppercase.find(text.upper()) if len(text) == 1 else -1
        if not 0 <= place < len(choices):
            raise BadRow(
                f"the answer in column {self.answer!r} is none of the choices "
                f"({text[:40]!r}; there are {len(choices)}, as text, letter, or index from 0)"
            )
        return place

    def texts(self, example: Example) -> tuple[str, ...]:
        return (example["question"], *sorted(example["choices"]))

    def answers(self, example: Example) -> tuple[str, ...]:
        # In words, since the bare text is one of ``texts``, and an answer that repeats the prompt is suspicious.
        return (f"the choice {example['choices'][example['answer']]}",)

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: PreTrainedTokenizerBase,
        context: int,
        label_names: list[str] | None,
    ) -> list[Example]:
        sizes = [len(example["choices"]) for example in examples]
        questions = [example["question"] for example, size in zip(examples, sizes, strict=True) for _ in range(size)]
        encoded = iter(encode_cut(tokenizer, questions, [c for e in examples for c in e["choices"]], context))
        samples: list[Example] = []
        for row, (example, size) in enumerate(zip(examples, sizes, strict=True)):
            own = [next(encoded) for _ in range(size)]
            flat = {
                name: [x for choice in own for x in choice[name]]
                for name in ("input_ids", "token_type_ids")
                if name in own[0]
            }
            lengths = {
                "choice_tokens": [len(choice["input_ids"]) for choice in own],
                "full_tokens": max(choice["full_tokens"] for choice in own),
            }
            samples.append({"row": row, "labels": example.get("answer", 0), "supervised": 1, **flat, **lengths})
        return samples

    def collator(self, pad_id: int) -> Callable[[Sequence[Sample]], Batch]:
        return ChoiceCollator(pad_id)

    def show(self, sample: Example, tokenizer: PreTrainedTokenizerBase, label_names: list[str] | None) -> str:
        ends = np.cumsum(sample["choice_tokens"])
        own = [str(tokenizer.decode(ids.tolist())) for ids in np.split(np.asarray(sample["input_ids"]), ends[:-1])]
        marked = [f"«{text}»" if place == sample["labels"] else text for place, text in enumerate(own)]
        return " | ".join(marked)


class ChoiceCollator:
    """Makes [B, C, T] batches of rows whose choices lie one after the other, ``choice_tokens`` long each.

    Args:
        pad_id: token id that fills up ``input_ids``.
    """

    def __init__(self, pad_id: int) -> None:
        self.rows = PadCollator(pad_id)

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        sizes = [np.asarray(sample["choice_tokens"]) for sample in samples]
        most = max(map(len, sizes))
        batch: Batch = {}
        for name, first in samples[0].items():
            values = [sample[name] for sample in samples]
            if name == "choice_tokens":
                continue
            if not isinstance(first, np.ndarray):
                batch[name] = torch.tensor(values, dtype=torch.int64)
                continue
            own = [np.split(np.asarray(value), np.cumsum(size)[:-1]) for value, size in zip(values, sizes, strict=True)]
            filled = [row + [np.zeros(0, dtype=np.int64)] * (most - len(row)) for row in own]
            flat = padded([choice for row in filled for choice in row], self.rows.fillers[name])
            batch[name] = torch.from_numpy(flat).unflatten(0, (len(samples), most))
        lengths = torch.from_numpy(padded(sizes, 0))
        batch["attention_mask"] = (torch.arange(batch["input_ids"].shape[-1]) < lengths.unsqueeze(-1)).long()
        return batch
