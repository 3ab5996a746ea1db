"""One prediction per text, or per pair of texts. Legend: B rows, H hidden width."""

from typing import Any

import torch
from torch import Tensor

from ..contracts.batch import Batch
from .headed_encoder import HeadedEncoder
from .pooling import Pooling, pool
from .scored import Scored


class PooledEncoder(HeadedEncoder):
    """Reads a text as one vector, pooled over its real tokens.

    Args:
        pooling: mean over real tokens, the first token (cls), or the last real token.
    """

    def __init__(self, *args: Any, pooling: Pooling = "mean", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pooling: Pooling = pooling

    def features(self, batch: Batch) -> Tensor:
        """Pooled hidden states, [B, H]."""
        return pool(self.states(batch), batch["attention_mask"], self.pooling)

    def targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        targets = batch["labels"]
        return targets, torch.arange(len(targets), device=targets.device)

    def row_columns(self, scored: Scored, batch: Batch) -> dict[str, list]:
        """What every per-example file of one supervised position a row holds."""
        return {
            "sample_id": batch["sample_id"].tolist(),
            "source_id": batch["source_id"].tolist(),
            "nll": scored.nll.tolist(),
            "tokens": [1] * len(scored.nll),
        }

    def manifest(self) -> dict[str, Any]:
        return super().manifest() | {"pooling": self.pooling}
