"""Per-example columns of targets with several supervised tokens a row."""

import torch
from torch import Tensor

from ..contracts.batch import Batch
from .scored import Scored


def by_row(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """Sum [N] values into their batch rows, giving [count]."""
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add_(0, rows, values)


def token_columns(scored: Scored, batch: Batch) -> dict[str, list]:
    rows = len(batch["sample_id"])
    tokens = by_row(torch.ones_like(scored.nll), scored.rows, rows)
    right = by_row((scored.logits.argmax(-1) == scored.targets).to(scored.nll.dtype), scored.rows, rows)
    columns = {
        "sample_id": batch["sample_id"].tolist(),
        "source_id": batch["source_id"].tolist(),
        "nll": by_row(scored.nll, scored.rows, rows).tolist(),
        "tokens": tokens.long().tolist(),
        "correct": (right / tokens.clamp(min=1)).tolist(),
    }
    return columns | {key: batch[key].tolist() for key in ("chars", "bytes") if key in batch}
