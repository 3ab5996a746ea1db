"""Several samples in a row that do not see each other: the packed batches of ``contracts.batch``."""

from collections.abc import Sequence

import numpy as np
import torch

from ..contracts.batch import IGNORE, Batch
from .token_dataset import Sample

NO_DOCUMENT = -1
"""``document`` of a pad."""


class PackCollator:
    """Rows of several samples each, to tensors [B, T] and, per sample, [S].

    Positions restart at every sample, and at the pads behind the last one. There is no ``attention_mask``: transformers
    reads from the positions alone where a sample begins, and lets none attend to another. A sample's first token is
    never a target, since only the sample before it could predict it (alone in its row it is none either).

    Args:
        pad_id: token id that fills up ``input_ids``.
    """

    def __init__(self, pad_id: int) -> None:
        self.fillers = {"input_ids": pad_id, "labels": IGNORE, "token_type_ids": 0}

    def __call__(self, rows: Sequence[Sequence[Sample]]) -> Batch:
        """S samples in B rows."""
        samples = [sample for row in rows for sample in row]
        sizes = [[len(sample["input_ids"]) for sample in row] for row in rows]  # pyright: ignore[reportArgumentType]
        shape = (len(rows), max(map(sum, sizes)))
        ragged = [name for name, value in samples[0].items() if isinstance(value, np.ndarray)]
        flat = {name: np.full(shape, self.fillers[name], dtype=np.int64) for name in ragged}
        flat |= {"position_ids": np.zeros(shape, np.int64), "document": np.full(shape, NO_DOCUMENT, np.int64)}
        document = 0
        for index, row in enumerate(rows):
            end = 0
            for sample in row:
                begin, end = end, end + len(sample["input_ids"])  # pyright: ignore[reportArgumentType]
                for name in ragged:
                    flat[name][index, begin:end] = sample[name]
                flat["labels"][index, begin] = IGNORE
                flat["position_ids"][index, begin:end] = np.arange(end - begin)
                flat["document"][index, begin:end] = document
                document += 1
            flat["position_ids"][index, end:] = np.arange(shape[1] - end)
        batch = {name: torch.from_numpy(values) for name, values in flat.items()}
        scalars = samples[0].keys() - set(ragged)
        return batch | {name: torch.tensor([sample[name] for sample in samples]) for name in sorted(scalars)}


class FlatCollator(PackCollator):
    """All samples of a batch in one row [1, T] without a pad."""

    def __call__(self, rows: Sequence[Sample]) -> Batch:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().__call__([rows])
