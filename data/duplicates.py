"""Texts that stand in the data more than once, within a split and across splits."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np

from ..contracts.errors import UserError
from .near_duplicates import joining_pairs, loose

SHOWN = 5
"""Examples of each kind."""
KEY_BYTES = 16
KEYS = "text_keys.npy"
PAIRS = (("validation", "train"), ("test", "train"), ("test", "validation"))


@dataclass(frozen=True)
class Duplicates:
    """What is done about texts that stand in the data more than once.

    Equal are texts that differ at most in case and in white space at their ends. Nearly equal are texts that differ in
    no more than case, punctuation and white space, or whose bags of words are similar enough
    (``finelab.data.near_duplicates``).

    Args:
        threshold: least Jaccard similarity of the words of nearly equal texts, in each column of a pair; null looks for
            equal texts only.
        action: ``keep`` counts and shows them, ``drop`` also removes from the training split each row whose text stands
            in another split, exactly or nearly. Held-out rows are never removed.
    """

    threshold: float | None = 0.7
    action: Literal["keep", "drop"] = "keep"

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0.1 <= self.threshold <= 1:
            raise UserError(
                f"data.duplicates: threshold is {self.threshold}; a Jaccard similarity from 0.1 to 1, or null to look "
                "for equal texts only."
            )


class DuplicateExample(TypedDict):
    """Two rows that say the same: where they stand and their texts."""

    found: str
    similarity: float
    where: list[str]
    texts: list[str]


class DuplicateReport(TypedDict):
    """What was found.

    ``exact`` and ``near``: ``within SPLIT`` -> rows (of near ones: distinct texts) that repeat an earlier row of their
    split, and ``A in B`` -> distinct texts of ``A`` that also stand in ``B``. A text that is found exactly is not
    counted as near. ``near`` is None where it was not looked for. ``dropped``: training rows that were removed.
    """

    threshold: float | None
    action: str
    exact: dict[str, int]
    near: dict[str, int] | None
    dropped: int
    examples: list[DuplicateExample]


Texts = Sequence[tuple[str, tuple[str, ...]]]
"""The rows of a split: place and texts."""


def text_key(*texts: str) -> bytes:
    """Equal for texts that differ only in case and in white space at their ends."""
    normalised = "\x1f".join(text.strip().casefold() for text in texts)
    return hashlib.blake2b(normalised.encode(), digest_size=KEY_BYTES).digest()


def save_keys(folder: Path, rows: Iterable[tuple[str, ...]]) -> None:
    """Keep the distinct keys of a split's texts beside its tokens, for a comparison with other sources."""
    keys = sorted({text_key(*texts) for texts in rows})
    np.save(folder / KEYS, np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES))


def load_keys(folder: Path) -> set[bytes]:
    """What ``save_keys`` kept."""
    return {key.tobytes() for key in np.load(folder / KEYS, allow_pickle=False)}


def find_duplicates(splits: Mapping[str, Texts], settings: Duplicates) -> tuple[DuplicateReport, set[int]]:
    """Look for repeated texts.

    Args:
        splits: split -> its rows.
        settings: what to look for, and what to do about it.

    Returns:
        The report, and the positions of the training rows to be removed.
    """
    search = _Search(splits)
    search.exact()
    if settings.threshold is not None:
        search.near(settings.threshold)
    leaked = search.leaked if settings.action == "drop" else set()
    dropped = {row for row, node in enumerate(search.keys_of("train")) if node in leaked}
    report = DuplicateReport(
        threshold=settings.threshold,
        action=settings.action,
        exact=search.counts,
        near=search.near_counts if settings.threshold is not None else None,
        dropped=len(dropped),
        examples=search.examples,
    )
    return report, dropped


Node = tuple[str, bytes]
"""A distinct text of a split."""


@dataclass
class _Search:
    splits: Mapping[str, Texts]
    counts: dict[str, int] = field(default_factory=dict)
    near_counts: dict[str, int] = field(default_factory=dict)
    examples: list[DuplicateExample] = field(default_factory=list)
    leaked: set[Node] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.keys = {split: [text_key(*texts) for _, texts in rows] for split, rows in self.splits.items()}
        self.first: dict[Node, int] = {}
        for split, keys in self.keys.items():
            for row, key in enumerate(keys):
                self.first.setdefault((split, key), row)
        self.distinct = {split: set(keys) for split, keys in self.keys.items()}

    def keys_of(self, split: str) -> list[Node]:
        return [(split, key) for key in self.keys.get(split, [])]

    def relations(self) -> list[tuple[str, str]]:
        return [pair for pair in PAIRS if pair[0] in self.splits and pair[1] in self.splits]

    def exact(self) -> None:
        for split, keys in self.keys.items():
            self.counts[f"within {split}"] = len(keys) - len(self.distinct[split])
            repeats = (row for row, key in enumerate(keys) if self.first[split, key] != row)
            for row, _ in zip(repeats, range(SHOWN), strict=False):
                self.show(f"within {split}", 1.0, (split, row), (split, self.first[split, keys[row]]))
        for held_out, seen in self.relations():
            common = self.distinct[held_out] & self.distinct[seen]
            self.counts[f"{held_out} in {seen}"] = len(common)
            if seen == "train":
                self.leaked |= {("train", key) for key in common}
            for key in sorted(common, key=lambda key: self.first[held_out, key])[:SHOWN]:
                places = ((held_out, self.first[held_out, key]), (seen, self.first[seen, key]))
                self.show(f"{held_out} in {seen}", 1.0, *places)

    def near(self, threshold: float) -> None:
        nodes = list(self.first)
        names = list(self.splits)
        texts = [loose(self.splits[split][self.first[split, key]][1]) for split, key in nodes]
        numbers = np.array([names.index(split) for split, _ in nodes])
        found: dict[str, set[bytes]] = {f"within {split}": set() for split in names}
        found |= {f"{held_out} in {seen}": set() for held_out, seen in self.relations()}
        for left, right, similarity in joining_pairs(texts, numbers, threshold):
            (earlier, one), (later, other) = nodes[left], nodes[right]
            if earlier == later:
                self.note(found, f"within {later}", nodes[right], nodes[left], similarity)
                continue
            held_out, seen = (earlier, later) if (earlier, later) in PAIRS else (later, earlier)
            hit, copy = (nodes[left], nodes[right]) if held_out == earlier else (nodes[right], nodes[left])
            if seen == "train" and one != other:
                self.leaked.add(copy)
            if hit[1] not in self.distinct[seen]:
                self.note(found, f"{held_out} in {seen}", hit, copy, similarity)
        self.near_counts = {relation: len(texts) for relation, texts in found.items()}

    def note(self, found: dict[str, set[bytes]], relation: str, hit: Node, copy: Node, similarity: float) -> None:
        if hit[1] not in found[relation] and len(found[relation]) < SHOWN:
            self.show(f"{relation}, nearly", similarity, (hit[0], self.first[hit]), (copy[0], self.first[copy]))
        found[relation].add(hit[1])

    def show(self, found: str, similarity: float, *rows: tuple[str, int]) -> None:
        places = [self.splits[split][row] for split, row in rows]
        self.examples.append(
            DuplicateExample(
                found=found,
                similarity=round(similarity, 3),
                where=[where for where, _ in places],
                texts=[shortened(" | ".join(texts)) for _, texts in places],
            )
        )


def shortened(text: str, length: int = 160) -> str:
    """On one line, its middle left out where it is long."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else f"{flat[: length - 45]} ... {flat[-40:]}"
