"""How the samples of the training split stand in batches: padded, packed, or in one row without pads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ..contracts.batch import Batch
from ..contracts.data import PackedSamples
from ..contracts.errors import UserError
from .collate import PadCollator
from .loader_options import LoaderOptions
from .pack_collator import FlatCollator, PackCollator
from .packing import PackedDataset
from .template import Template
from .token_dataset import Sample, TokenDataset

PROBED = 8
"""Most samples that are compared before training."""


@dataclass(frozen=True)
class TrainingLayout:
    """What a training loader needs.

    Args:
        rows: what ``batch_size`` counts.
        lengths: tokens of each, shape [rows].
        collate: makes a batch of some.
        bucketing: whether rows of like length should meet in a batch.
        notes: for the report.
    """

    rows: Dataset
    lengths: np.ndarray
    collate: Callable[[Sequence[Any]], Batch]
    bucketing: bool
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, data: TokenDataset, template: Template, pad_id: int, context: int, loader: LoaderOptions, seed: int
    ) -> "TrainingLayout":
        """Raises:
        UserError: samples of this template cannot share a row.
        """
        collate = collator_of(template, pad_id, loader)
        if loader.packing:
            packed = PackedDataset(data, context, seed)
            note = (
                f"packed: {len(data)} training samples in {len(packed)} rows of at most {context} tokens, "
                f"{packed.fill:.1%} filled; no sample sees another"
            )
            return cls(packed, packed.lengths, collate, False, (note,))
        if loader.padding_free:
            note = "padding-free: the samples of a training batch share one row without pads; no sample sees another"
            return cls(data, data.lengths, collate, False, (note,))
        return cls(data, data.lengths, collate, loader.bucketing)

    def probe(self, pad_id: int) -> PackedSamples | None:
        """Some samples in this layout and padded; None where the layout is padded or no two samples share a row."""
        flat = isinstance(self.collate, FlatCollator)
        if isinstance(self.rows, PackedDataset):
            shared = next((row for row in self.rows.rows if len(row) > 1), [])
            samples = [self.rows.data[int(index)] for index in shared[:PROBED]]
        else:
            samples = [self.rows[index] for index in range(min(PROBED, len(self.lengths)))] if flat else []
        return probe_of(samples, pad_id, flat) if samples else None


def probe_of(samples: Sequence[Sample], pad_id: int, padding_free: bool) -> PackedSamples:
    return PackedSamples(FlatCollator(pad_id)(samples), PadCollator(pad_id)(samples), padding_free)


def collator_of(template: Template, pad_id: int, loader: LoaderOptions) -> Callable[[Any], Batch]:
    """How training batches are made.

    Raises:
        UserError: samples of this template cannot share a row.
    """
    if loader.packing or loader.padding_free:
        require_packable(template, loader)
        return PackCollator(pad_id) if loader.packing else FlatCollator(pad_id)
    return template.collator(pad_id)


def require_packable(template: Template, loader: LoaderOptions) -> None:
    """Raises:
    UserError: the template's targets are not the tokens themselves.
    """
    if not template.packable:
        wanted = "packing" if loader.packing else "padding_free"
        raise UserError(
            f"data.init_args.loader.{wanted} is true, and the targets of {type(template).__name__} are not the next "
            "tokens of its samples; only language-model samples may share a row. Remove the key: rows of like length "
            "already meet in a batch (data.init_args.loader.bucketing)."
        )
