"""One tag per word. Legend: B rows, T tokens, N words, H hidden width, C tags."""

from typing import Any

from torch import Tensor

from ..contracts.batch import IGNORE, Batch
from .classification_meter import ClassificationMeter
from .headed_encoder import HeadedEncoder, at_least_two, log_frequencies
from .meter import Meter
from .scored import Scored
from .span_meter import SpanMeter, is_bio
from .token_columns import token_columns


class TokenClassifier(HeadedEncoder):
    """Tags words: the head reads each word's first piece, in the encoder's own context.

    With BIO tags (``O``, ``B-X``, ``I-X``) the metrics are those of whole entities; with plain ones (parts of speech)
    those of a classification of words.

    Args:
        labels: tags in the order of their indices; taken from the data.
        head_dropout: on the hidden states.
    """

    target_kind = "words"
    probed = True

    def __init__(self, *args: Any, labels: list[str] | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.labels = at_least_two(labels, type(self))
        self.primary = ("f1", "max") if is_bio(self.labels) else ("accuracy", "max")

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        at = batch["labels"] != IGNORE
        return batch["labels"][at], at.nonzero()[:, 0]

    def features(self, batch: Batch) -> Tensor:
        """Hidden states of the words' first pieces, [N, H]."""
        return self.states(batch)[batch["labels"] != IGNORE]

    def constant(self, targets: Tensor) -> Tensor:
        return log_frequencies(targets, len(self.labels))

    def meter(self) -> Meter:
        return SpanMeter(self.labels) if is_bio(self.labels) else ClassificationMeter(self.labels)

    def example_columns(self, scored: Scored, batch: Batch) -> dict[str, list]:
        return token_columns(scored, batch) | {
            "label": self.by_row(scored.targets, scored.rows, batch),
            "prediction": self.by_row(scored.logits.argmax(-1), scored.rows, batch),
        }

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, list]:
        """A tag for every word that the context has room for."""
        return {"tags": self.by_row(self.head(self.features(batch)).argmax(-1), self.targets(batch)[1], batch)}

    def by_row(self, tags: Tensor, rows: Tensor, batch: Batch) -> list[list[str]]:
        found: list[list[str]] = [[] for _ in batch["labels"]]
        for row, tag in zip(rows.tolist(), tags.tolist(), strict=True):
            found[row].append(self.labels[tag])
        return found

    def manifest(self) -> dict[str, Any]:
        return super().manifest() | {"labels": self.labels}
