"""Precision, recall and F1 of whole entities, as the CoNLL evaluation counts them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..contracts.batch import Batch
from .label_totals import LabelTotals
from .meter import Meter, Reading
from .scored import Scored
from .totals import Totals


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

    What has no denominator is missing, where conlleval says 0: the precision if no entity is predicted, the recall if
    there is none, F1 if both.

    Tables: per_class, by kind of entity.

    Args:
        tags: ``O``, ``B-X`` and ``I-X`` in the order of their indices.
    """

    def __init__(self, tags: Sequence[str]) -> None:
        super().__init__()
        self.tags = list(tags)
        self.kinds = sorted({tag[2:] for tag in tags if tag != "O"})
        self.right_words = Totals(dtype=torch.int64)
        self.entities = LabelTotals(self.kinds)

    def update(self, scored: Scored, batch: Batch) -> None:
        super().update(scored, batch)
        prediction = scored.logits.argmax(-1)
        self.right_words.update((prediction == scored.targets).sum())
        rows = scored.rows.tolist()
        found = self._spans(prediction.tolist(), rows)
        true = self._spans(scored.targets.tolist(), rows)
        self.entities.add(*(self._by_kind(entities) for entities in (found & true, found, true)))

    def _by_kind(self, entities: set[tuple[int, Span]]) -> Tensor:
        """[kinds] how many of each."""
        indices = [self.kinds.index(span.kind) for _, span in entities]
        return torch.tensor(indices, dtype=torch.long).bincount(minlength=len(self.kinds))

    def _spans(self, tags: list[int], rows: list[int]) -> set[tuple[int, Span]]:
        """The entities of all rows, with the row of each."""
        by_row: dict[int, list[str]] = {}
        for row, tag in zip(rows, tags, strict=True):
            by_row.setdefault(row, []).append(self.tags[tag])
        return {(row, span) for row, sequence in by_row.items() for span in spans(sequence)}

    def readings(self) -> dict[str, Reading]:
        counts = self.entities.counts()
        right, predicted, true = (int(part.sum()) for part in (counts.right, counts.predicted, counts.true))
        nowhere, unseen = "there is no entity in these rows", "no entity was predicted"
        return {
            "nll": self.mean_nll(),
            "accuracy": (self.right_words.compute() / self.tokens.compute()).item(),
            "precision": right / predicted if predicted else unseen,
            "recall": right / true if true else nowhere,
            "f1": counts.micro_f1() if predicted + true else f"{nowhere}, and {unseen}",
        }

    def tables(self) -> dict[str, Any]:
        return {"per_class": self.entities.table()}


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
