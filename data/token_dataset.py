"""Tokenized samples as flat arrays, so that fetching a row costs no conversion."""

import numpy as np
from datasets import Dataset as ArrowDataset
from torch.utils.data import Dataset

Sample = dict[str, np.ndarray | int | float]

RAGGED = ("input_ids", "token_type_ids", "choice_tokens")
COUNTS = ("chars", "bytes")


class TokenDataset(Dataset[Sample]):
    """The samples of one split.

    Args:
        samples: the tokenized split; ``input_ids`` and ``labels`` (a list, an integer or a float; none in rows to
            generate from), see ``Template.encode``.
        source_id: of every sample.
        first_id: ``sample_id`` of the first sample; the others follow.
    """

    def __init__(self, samples: ArrowDataset, source_id: int = 0, first_id: int = 0) -> None:
        self.size = len(samples)
        self.source_id, self.first_id = source_id, first_id
        ragged = [*(name for name in RAGGED if name in samples.column_names)]
        scalars = [name for name in COUNTS if name in samples.column_names]
        if "labels" in samples.column_names:
            (ragged if hasattr(samples.features["labels"], "feature") else scalars).append("labels")
        self.columns = {name: _flat(samples, name) for name in ragged}
        self.scalars = {name: samples.data.column(name).to_numpy() for name in scalars}
        self.lengths = np.diff(self.columns["input_ids"][1])

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        sample: Sample = {"sample_id": self.first_id + index, "source_id": self.source_id}
        for name, (values, offsets) in self.columns.items():
            sample[name] = values[offsets[index] : offsets[index + 1]]
        for name, values in self.scalars.items():
            sample[name] = values[index].item()
        return sample


def _flat(samples: ArrowDataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """All values of a ragged column, shape [tokens], and where each row begins, shape [rows + 1]."""
    lists = samples.data.column(name)
    values = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in lists.chunks]
    sizes = [np.diff(chunk.offsets.to_numpy()) for chunk in lists.chunks]
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), *sizes]).cumsum()
    return np.concatenate(values) if values else np.zeros(0, dtype=np.int32), offsets
