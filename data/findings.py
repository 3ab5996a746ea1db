"""Rows that can be used and yet deserve a look: equal texts with other answers, odd characters, repeated names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

import numpy as np

from .duplicates import shortened, text_key
from .template import Example, Template

PLACES = 3
"""How many rows of each kind are named."""
EXAMPLES = 5
LONGEST_WORD = 200
EXTREME = 20
"""How many times the median length of a split is extreme."""

CONTROL = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Scripts that are written without spaces have no long words.
LONG_WORD = re.compile(rf"[^\s\u0e00-\u0eff\u2e80-\u9fff\uac00-\ud7a3\uff00-\uffef]{{{LONGEST_WORD},}}")


class Finding(TypedDict):
    """One kind of suspicious row: how many, and where the first ones stand."""

    name: str
    rows: int
    where: list[str]


class ConflictExample(TypedDict):
    """Equal texts: where they stand and what is to be answered."""

    text: str
    where: list[str]
    answers: list[str]


class Conflicts(TypedDict):
    """Equal texts with different answers, over all splits: how many texts, in how many rows."""

    texts: int
    rows: int
    examples: list[ConflictExample]


Rows = Sequence[tuple[str, Example]]


def suspicious(rows: Rows, template: Template, lengths: Mapping[int, int]) -> list[Finding]:
    """Count rows of one split by what is odd about them.

    Args:
        rows: place and checked columns.
        template: says what the texts and the answers are.
        lengths: position of a row -> its tokens before any cut.

    Returns:
        The kinds that occur.
    """
    found: dict[str, list[str]] = {}
    extreme = EXTREME * float(np.median(list(lengths.values()))) if lengths else 0.0
    for position, (where, example) in enumerate(rows):
        names = oddities(template.texts(example), template.answers(example))
        if lengths.get(position, 0) > extreme:
            names.append(f"over {EXTREME} times the median length")
        for name in names:
            found.setdefault(name, []).append(where)
    return [Finding(name=name, rows=len(where), where=where[:PLACES]) for name, where in sorted(found.items())]


def oddities(texts: tuple[str, ...], answers: tuple[str, ...]) -> list[str]:
    """What is odd about a row, in words."""
    joined = "\n".join((*texts, *answers))
    names = []
    if not all(answer.strip() for answer in answers):
        names.append("empty answer")
    given = {text.strip().casefold() for text in texts}
    if any(answer.strip() and answer.strip().casefold() in given for answer in answers):
        names.append("answer equals prompt")
    if CONTROL.search(joined):
        names.append("control characters")
    if "\ufffd" in joined:
        names.append("replacement characters")
    if len(joined) >= LONGEST_WORD and LONG_WORD.search(joined):
        names.append(f"a word of {LONGEST_WORD} characters or more")
    return names


def repeated_ids(ids: Iterable[tuple[str, object]]) -> list[Finding]:
    """Rows of one split with the ``id`` of an earlier row (``place``, ``id``)."""
    seen: set[object] = set()
    repeats = []
    for where, own in ids:
        if isinstance(own, str | int):
            if own in seen:
                repeats.append(where)
            seen.add(own)
    return [Finding(name="repeated id", rows=len(repeats), where=repeats[:PLACES])] if repeats else []


def find_conflicts(splits: Mapping[str, Rows], template: Template) -> Conflicts:
    """Equal texts (``text_key``) that are to be answered differently."""
    groups: dict[bytes, list[tuple[str, Example]]] = {}
    for rows in splits.values():
        for where, example in rows:
            if template.answers(example):
                groups.setdefault(text_key(*template.texts(example)), []).append((where, example))
    found = Conflicts(texts=0, rows=0, examples=[])
    for group in groups.values():
        firsts: dict[tuple[str, ...], str] = {}
        for where, example in group:
            firsts.setdefault(template.answers(example), where)
        if len(firsts) < 2:
            continue
        found["texts"] += 1
        found["rows"] += len(group)
        if len(found["examples"]) < EXAMPLES:
            text = shortened(" | ".join(template.texts(group[0][1])))
            answers = [shortened(" / ".join(answer), 80) for answer in firsts]
            found["examples"].append(ConflictExample(text=text, where=list(firsts.values()), answers=answers))
    return found
