"""One label per text, or per pair of texts. Legend: B rows, T tokens, H hidden width, C labels."""

from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..contracts.batch import MODEL_INPUTS, Batch
from ..contracts.errors import UserError
from .finetuner import FineTuner
from .meters import ClassificationMeter, Meter
from .pooling import Pooling, pool
from .regularizers.regularizer import Fresh, Outputs
from .scored import Scored

HEAD = "head.safetensors"


class Head(Fresh):
    """Dropout and one linear layer."""

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(width, classes)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.dropout(features))


class Classifier(nn.Module):
    """An adapted backbone under a new head."""

    def __init__(self, backbone: nn.Module, head: Head) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head


class SequenceClassifier(FineTuner):
    """Classifies texts with a pretrained backbone, pooled over its real tokens, under a new linear head.

    The head is trained and saved with every adapter. Since an untrained head says nothing, the baseline of such a run
    is the majority class and a probe on frozen features.

    Args:
        labels: label names in the order of their indices; taken from the data.
        pooling: mean over real tokens, the first token (cls), or the last real token.
        head_dropout: on the pooled features.
    """

    kind = "encoder"
    primary = ("accuracy", "max")
    has_fresh_head = True

    def __init__(
        self, *args: Any, labels: list[str] | None, pooling: Pooling = "mean", head_dropout: float = 0.1, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if len(labels or ()) < 2:  # the link passes None where the data has no label_names
            raise UserError(
                f"{type(self).__name__} needs at least two label names, and the data has {labels}; choose a data "
                "module with label_names (a template for classification), or another model."
            )
        self.labels, self.head_dropout = list(labels or ()), head_dropout
        self.pooling: Pooling = pooling

    def build(self, backbone: nn.Module) -> nn.Module:
        width = cast(PreTrainedModel, backbone).config.hidden_size
        return Classifier(backbone, Head(width, len(self.labels), self.head_dropout))

    @property
    def adapted(self) -> nn.Module:
        assert isinstance(self.model, Classifier)
        return self.model.backbone

    @property
    def head(self) -> Head:
        assert isinstance(self.model, Classifier)
        return self.model.head

    def features(self, batch: Batch) -> Tensor:
        """Pooled hidden states, [B, H]."""
        inputs = {key: batch[key] for key in MODEL_INPUTS if key in batch}
        hidden = self.adapted(**inputs).last_hidden_state[:, self.adapter.virtual_tokens :]
        return pool(hidden, batch["attention_mask"], self.pooling)

    def supervised(self, batch: Batch) -> tuple[Outputs, Tensor, Tensor]:
        features = self.features(batch)
        targets = batch["labels"]
        return Outputs(self.head(features), features), targets, torch.arange(len(targets), device=targets.device)

    def meter(self) -> Meter:
        return ClassificationMeter(len(self.labels))

    def example_columns(self, scored: Scored, batch: Batch) -> dict[str, list]:
        probability, prediction = scored.logits.float().softmax(-1).max(-1)
        return {
            "sample_id": batch["sample_id"].tolist(),
            "source_id": batch["source_id"].tolist(),
            "nll": scored.nll.tolist(),
            "tokens": [1] * len(scored.nll),
            "label": [self.labels[i] for i in scored.targets.tolist()],
            "prediction": [self.labels[i] for i in prediction.tolist()],
            "probability": probability.tolist(),
        }

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, list]:
        probability, prediction = self.head(self.features(batch)).float().softmax(-1).max(-1)
        return {"label": [self.labels[i] for i in prediction.tolist()], "probability": probability.tolist()}

    def manifest(self) -> dict[str, Any]:
        return super().manifest() | {"labels": self.labels, "pooling": self.pooling}

    def save_folder(self, folder: Path) -> None:
        super().save_folder(folder)
        save_file({name: p.detach().cpu().contiguous() for name, p in self.head.state_dict().items()}, folder / HEAD)

    def load_folder(self, folder: Path) -> None:
        super().load_folder(folder)
        if not (folder / HEAD).is_file():
            raise UserError(f"{folder} has no {HEAD}: without its head a classifier's checkpoint is of no use.")
        self.head.load_state_dict(load_file(folder / HEAD))
