"""Precision, recall and F1 of whole entities, as the CoNLL evaluation counts them."""

from collections.abc import Sequence
from typing import NamedTuple

from ..contracts.batch import Batch
from .meters import Meter, double_sum
from .scored import Scored


class Span(NamedTuple):
    """An entity.

    Args:
        kind: what stands after ``B-`` and ``I-``.
        start: its first word; end: the word behind its last.
    """

    kind: str
    start: int
    end: int


class SpanMeter(Meter):
    """nll and accuracy per word, and micro-averaged precision, recall and F1 over entities (Tjong Kim Sang and
    De Meulder, CoNLL 2003, cs/0306050): an entity counts if its kind and both of its ends are right.

    What has no denominator (no entity there, none predicted) counts as 0, as in conlleval.

    Args:
        tags: ``O``, ``B-X`` and ``I-X`` in the order of their indices.
    """

    def __init__(self, tags: Sequence[str]) -> None:
        super().__init__()
        self.tags = list(tags)
        self.right_words, self.right, self.predicted, self.true = (double_sum() for _ in range(4))

    def update(self, scored: Scored, batch: Batch) -> None:
        super().update(scored, batch)
        prediction = scored.logits.argmax(-1)
        self.right_words.update((prediction == scored.targets).sum())
        rows = scored.rows.tolist()
        found = self._spans(prediction.tolist(), rows)
        true = self._spans(scored.targets.tolist(), rows)
        self.right.update(len(found & true))
        self.predicted.update(len(found))
        self.true.update(len(true))

    def _spans(self, tags: list[int], rows: list[int]) -> set[tuple[int, Span]]:
        """The entities of all rows, with the row of each."""
        by_row: dict[int, list[str]] = {}
        for row, tag in zip(rows, tags, strict=True):
            by_row.setdefault(row, []).append(self.tags[tag])
        return {(row, span) for row, sequence in by_row.items() for span in spans(sequence)}

    def compute(self) -> dict[str, float]:
        right, predicted, true = (m.compute().item() for m in (self.right, self.predicted, self.true))
        return {
            "nll": self.mean_nll(),
            "accuracy": (self.right_words.compute() / self.tokens.compute()).item(),
            "precision": right / predicted if predicted else 0.0,
            "recall": right / true if true else 0.0,
            "f1": 2 * right / (predicted + true) if predicted + true else 0.0,
        }


def is_bio(tags: Sequence[str]) -> bool:
    """Whether every tag is ``O``, ``B-...`` or ``I-...``, and some are not ``O``."""
    entities = [tag for tag in tags if tag != "O"]
    return bool(entities) and all(tag.startswith(("B-", "I-")) and len(tag) > 2 for tag in entities)


def spans(tags: Sequence[str]) -> list[Span]:
    """Entities of one sequence; an ``I-X`` that continues no ``X`` begins one, as conlleval reads it."""
    found: list[Span] = []
    kind: str | None = None
    start = 0
    for position, tag in enumerate([*tags, "O"]):
        here = tag[2:]
        begins = tag.startswith("B-") or (tag != "O" and here != kind)
        if kind is not None and (begins or tag == "O"):
            found.append(Span(kind, start, position))
            kind = None
        if begins:
            kind, start = here, position
    return found
