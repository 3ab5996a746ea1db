"""Samples of several sources behind each other, so that any of them can stand in one batch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ..contracts.errors import UserError
from .token_dataset import COUNTS, Sample

SEGMENTS = "token_type_ids"


class MixedSamples(Dataset[Any]):
    """The rows of a split, source after source.

    A batch needs the same columns in all its rows: counts of characters that not all sources have are left out, and
    segment ids are zero, which is what an encoder takes missing ones for, in the sources without.

    Args:
        parts: name -> samples, or rows of several each.
        lengths: name -> tokens per row.

    Raises:
        UserError: the sources' targets are of different kinds.
    """

    def __init__(self, parts: Mapping[str, Dataset[Any]], lengths: Mapping[str, np.ndarray]) -> None:
        self.datasets = list(parts.values())
        self.lengths = np.concatenate(list(lengths.values()))
        self.ends = np.cumsum([len(own) for own in lengths.values()])
        kinds = {name: self._kind(part[0]) for name, part in parts.items()}
        self.segments = any(SEGMENTS in kind for kind in kinds.values())
        self.uncounted = {key for key in COUNTS if any(key not in kind for kind in kinds.values())}
        first, wanted = next(iter(kinds.items()))
        for name, kind in kinds.items():
            if self._required(kind) != self._required(wanted):
                raise UserError(
                    f"data.sources: the rows of {first} and of {name} have targets of different kinds "
                    f"({self._shown(wanted)} and {self._shown(kind)}); give both a template for the same kind of task."
                )

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> Sample | list[Sample]:
        source = int(np.searchsorted(self.ends, index, side="right"))
        start = int(self.ends[source - 1]) if source else 0
        row = self.datasets[source][index - start]
        for sample in row if isinstance(row, list) else [row]:
            self._fit(sample)
        return row

    def _fit(self, sample: Sample) -> None:
        for key in self.uncounted & sample.keys():
            del sample[key]
        if self.segments and SEGMENTS not in sample:
            sample[SEGMENTS] = np.zeros_like(sample["input_ids"])

    @staticmethod
    def _kind(row: Sample | list[Sample]) -> dict[str, type]:
        sample = row[0] if isinstance(row, list) else row
        return {key: type(value) for key, value in sample.items()}

    @staticmethod
    def _required(kind: Mapping[str, type]) -> dict[str, type]:
        return {key: value for key, value in kind.items() if key not in (*COUNTS, SEGMENTS)}

    @staticmethod
    def _shown(kind: Mapping[str, type]) -> str:
        return ", ".join(
            f"{key} {value.__name__}" for key, value in kind.items() if key not in ("sample_id", "source_id")
        )
