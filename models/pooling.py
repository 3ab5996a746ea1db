"""From token states to one vector per row, by the attention mask. Legend: B rows, T tokens, H hidden width."""

from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "cls", "last"]


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Pool over real tokens; pads change nothing, on whichever side they are.

    Args:
        hidden: [B, T, H]; mask: [B, T], 1 on real tokens.
        pooling: "mean" of the real tokens, "cls" for the first and "last" for the last real token.

    Returns:
        [B, H].
    """
    if pooling == "mean":
        weights = mask.to(hidden.dtype).unsqueeze(-1)
        return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)
    positions = torch.arange(mask.shape[1], device=mask.device) * mask
    index = mask.argmax(1) if pooling == "cls" else positions.argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), index]
