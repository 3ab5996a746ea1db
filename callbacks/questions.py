"""The prompts of a split that a model is asked, each once with all its right answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from typing import NamedTuple


class AskedRow(NamedTuple):
    """A row of a split, as the ranks exchange it.

    Args:
        sample: its sample id.
        source: its source id.
        prompt: token ids.
        answer: token ids of its right answer.
    """

    sample: int
    source: int
    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Written:
    """A model's answer.

    Args:
        text: without special tokens.
        tokens: how many, without the one that ended it.
        ended: whether the model ended it; otherwise the budget did.
        nll: nats of these tokens together; None where they were not counted.
    """

    text: str = ""
    tokens: int = 0
    ended: bool = False
    nll: float | None = None


@dataclass
class Question:
    """A prompt, with all its right answers and what the model wrote.

    Args:
        prompt: token ids.
        source: the source id of the first row that asks it.
        samples: the sample ids of the rows that ask it.
        answers: token ids of these rows' answers.
        references: the same as text, once it has been asked.
        written: the model's answer, likewise.
    """

    prompt: tuple[int, ...]
    source: int
    samples: list[int]
    answers: list[tuple[int, ...]]
    references: list[str] = field(default_factory=list)
    written: Written = Written()


def questions_of(rows: Iterable[AskedRow]) -> list[Question]:
    """In the order of the sample ids."""
    found: dict[tuple[int, ...], Question] = {}
    for row in sorted(rows):
        question = found.setdefault(row.prompt, Question(row.prompt, row.source, [], []))
        question.samples.append(row.sample)
        question.answers.append(row.answer)
    return list(found.values())


def joined(parts: Iterable[Sequence[Question]]) -> list[Question]:
    """Of several sets; a prompt that two of them ask is one question, with the first one's answer."""
    found: dict[tuple[int, ...], Question] = {}
    for own in chain.from_iterable(parts):
        question = found.setdefault(own.prompt, Question(own.prompt, own.source, [], [], [], own.written))
        question.samples += own.samples
        question.answers += own.answers
        question.references += own.references
    return list(found.values())


def in_turns(questions: Iterable[Question], count: int) -> list[Question]:
    """The first of each source, the second of each and so on, ``count`` together; 0 for all."""
    sources: dict[int, list[Question]] = {}
    for question in questions:
        sources.setdefault(question.source, []).append(question)
    turns = chain.from_iterable(zip_longest(*sources.values()))
    return list(islice((question for question in turns if question is not None), count or None))
