"""Tokenized samples as flat arrays, mapped where they come from the cache, so that fetching a row converts nothing."""

import numpy as np
import pyarrow
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
            labels = samples.data.schema.field("labels").type
            (ragged if pyarrow.types.is_nested(labels) else scalars).append("labels")
        self.columns = {name: Ragged(samples.data.column(name)) for name in ragged}
        self.scalars = {name: samples.data.column(name).to_numpy() for name in scalars}
        self.lengths = self.columns["input_ids"].lengths
        self._rows = samples.data.column("row") if "row" in samples.column_names else None

    def __len__(self) -> int:
        return self.size

    def document_of(self, samples: np.ndarray) -> np.ndarray:
        """[n] sample ids to the ids of the first samples of the same rows."""
        if self._rows is None:
            return samples
        _, first, of = np.unique(self._rows.to_numpy(), return_index=True, return_inverse=True)
        return self.first_id + first[of[samples - self.first_id]]

    def __getitem__(self, index: int) -> Sample:
        sample: Sample = {"sample_id": self.first_id + index, "source_id": self.source_id}
        for name, column in self.columns.items():
            sample[name] = column[index]
        for name, values in self.scalars.items():
            sample[name] = values[index].item()
        return sample


class Ragged:
    """A column of lists, as it lies in memory or in the mapped file: no value is copied before its row is asked for.

    Args:
        lists: a chunked array of lists of numbers.
    """

    def __init__(self, lists: pyarrow.ChunkedArray) -> None:
        chunks = [chunk for chunk in lists.chunks if len(chunk)]
        self.values = [chunk.flatten().to_numpy() for chunk in chunks]
        self.offsets = [chunk.offsets.to_numpy() for chunk in chunks]
        self.ends = np.cumsum([len(chunk) for chunk in chunks], dtype=np.int64)
        self.lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(offsets) for offsets in self.offsets)])

    def __getitem__(self, row: int) -> np.ndarray:
        chunk = int(np.searchsorted(self.ends, row, side="right"))
        offsets = self.offsets[chunk]
        own = row - int(self.ends[chunk - 1]) if chunk else row
        return self.values[chunk][offsets[own] - offsets[0] : offsets[own + 1] - offsets[0]]
