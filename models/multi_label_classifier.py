"""Any number of labels per text, or per pair of texts. Legend: B rows, C labels."""

from typing import Any

from torch import Tensor

from ..contracts.batch import Batch
from .headed_encoder import at_least_two
from .likelihoods import Bernoulli
from .meter import Meter
from .multi_label_meter import MultiLabelMeter
from .pooled_encoder import PooledEncoder
from .scored import Scored

THRESHOLD = 0.5


class MultiLabelClassifier(PooledEncoder):
    """Answers for each label whether it holds, independently given the text; nll is that of a row's answers together.

    Args:
        labels: label names in the order of their columns; taken from the data.
        pooling: mean over real tokens, the first token (cls), or the last real token.
        head_dropout: on the pooled features.
    """

    target_kind = "labels"
    primary = ("micro_f1", "max")
    guess = "frequencies"
    likelihood = Bernoulli()

    def __init__(self, *args: Any, labels: list[str] | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.labels = at_least_two(labels, type(self))

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def constant(self, targets: Tensor) -> Tensor:
        """The logit of each label's frequency, which half a row keeps from certainty."""
        held = targets.sum(0).float().clamp(0.5, len(targets) - 0.5)
        return (held / len(targets)).logit()

    def meter(self) -> Meter:
        return MultiLabelMeter(self.labels)

    def example_columns(self, scored: Scored, batch: Batch) -> dict[str, list]:
        found = scored.logits.float().sigmoid()
        return self.row_columns(scored, batch) | {
            "correct": ((found > THRESHOLD) == (scored.targets > 0)).float().mean(-1).tolist(),
            "label": self.named(scored.targets > 0),
            "prediction": self.named(found > THRESHOLD),
            "probabilities": found.tolist(),
        }

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, list]:
        found = self.head(self.features(batch)).float().sigmoid()
        pairs = [dict(zip(self.labels, row, strict=True)) for row in found.tolist()]
        return {"labels": self.named(found > THRESHOLD), "probabilities": pairs}

    def named(self, held: Tensor) -> list[list[str]]:
        """[B, C] booleans to the names of each row's labels."""
        return [[name for name, on in zip(self.labels, row, strict=True) if on] for row in held.tolist()]

    def manifest(self) -> dict[str, Any]:
        return super().manifest() | {"labels": self.labels}
