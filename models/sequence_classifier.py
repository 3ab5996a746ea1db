"""One label per text, or per pair of texts. Legend: B rows, C labels."""

from typing import Any

from torch import Tensor

from ..contracts.batch import Batch
from .classification_meter import ClassificationMeter
from .headed_encoder import at_least_two, log_frequencies
from .meter import Meter
from .pooled_encoder import PooledEncoder
from .scored import Scored


class SequenceClassifier(PooledEncoder):
    """Classifies texts with a pretrained backbone, pooled over its real tokens, under a new linear head.

    Args:
        labels: label names in the order of their indices; taken from the data.
        pooling: mean over real tokens, the first token (cls), or the last real token.
        head_dropout: on the pooled features.
    """

    target_kind = "class"
    primary = ("accuracy", "max")
    probed = True

    def __init__(self, *args: Any, labels: list[str] | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.labels = at_least_two(labels, type(self))

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def constant(self, targets: Tensor) -> Tensor:
        return log_frequencies(targets, len(self.labels))

    def meter(self) -> Meter:
        return ClassificationMeter(self.labels)

    def example_columns(self, scored: Scored, batch: Batch) -> dict[str, list]:
        probability, prediction = scored.logits.float().softmax(-1).max(-1)
        return self.row_columns(scored, batch) | {
            "correct": (prediction == scored.targets).float().tolist(),
            "label": [self.labels[i] for i in scored.targets.tolist()],
            "prediction": [self.labels[i] for i in prediction.tolist()],
            "probability": probability.tolist(),
        }

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, list]:
        probability, prediction = self.head(self.features(batch)).float().softmax(-1).max(-1)
        return {"label": [self.labels[i] for i in prediction.tolist()], "probability": probability.tolist()}

    def manifest(self) -> dict[str, Any]:
        return super().manifest() | {"labels": self.labels}
