"""Samples to a batch, padded on the right to the longest of them."""

from collections.abc import Sequence

import numpy as np
import torch

from ..contracts.batch import IGNORE, Batch
from .token_dataset import Sample


class PadCollator:
    """Makes the batches of ``contracts.batch``: pads are masked in attention and ignored in labels.

    Args:
        pad_id: token id that fills up ``input_ids``.
    """

    def __init__(self, pad_id: int) -> None:
        self.fillers = {"input_ids": pad_id, "labels": IGNORE, "token_type_ids": 0}

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Samples of one split, B of them, to tensors [B] and [B, T]; each list is padded to the longest of its own."""
        batch: Batch = {}
        for name, first in samples[0].items():
            values = [sample[name] for sample in samples]
            if isinstance(first, np.ndarray):
                batch[name] = torch.from_numpy(padded(values, self.fillers[name]))  # pyright: ignore[reportArgumentType]
            else:
                batch[name] = torch.tensor(values, dtype=torch.float32 if isinstance(first, float) else torch.int64)
        lengths = torch.tensor([len(sample["input_ids"]) for sample in samples])  # pyright: ignore[reportArgumentType]
        width = batch["input_ids"].shape[1]
        batch["attention_mask"] = (torch.arange(width) < lengths[:, None]).long()
        return batch


def padded(rows: Sequence[np.ndarray], filler: int) -> np.ndarray:
    padded = np.full((len(rows), max(map(len, rows))), filler, dtype=np.int64)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded
