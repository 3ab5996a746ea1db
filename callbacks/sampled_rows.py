"""The same few rows of a split, whatever the order and the number of ranks. Legend: B rows of a batch."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeAlias

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from ..contracts.batch import IGNORE, Batch
from ..contracts.seeds import derive
from .evaluation import gathered, on_device, undisturbed

Row: TypeAlias = dict[str, Tensor]


def sampled_rows(module: LightningModule, loader: Iterable[Batch], rows: int, trainer: Trainer) -> list[Row]:
    """Drawn by their ``sample_id`` alone, in the order of the draw, so that the first n are a draw of n rows.

    Reads the loader once; at most twice as many rows as are asked for, and a batch, are held on the CPU.

    Args:
        module: undisturbed.
        loader: every row once over all ranks.
        rows: how many over all ranks; all where there are fewer.
        trainer: gives the ranks.

    Returns:
        The same rows on every rank, on the CPU.
    """
    kept: list[tuple[int, Row]] = []
    with undisturbed(module):
        for batch in on_device(loader, trainer):
            kept += [(derive("sampled rows", int(row["sample_id"])), row) for row in rows_of(batch)]
            if len(kept) > 2 * rows:
                kept = first(kept, rows)
    return [row for _, row in first([pair for part in gathered(first(kept, rows)) for pair in part], rows)]


def first(pairs: list[tuple[int, Row]], count: int) -> list[tuple[int, Row]]:
    return sorted(pairs, key=lambda pair: pair[0])[:count]


def rows_of(batch: Batch) -> list[Row]:
    """Copies: a view would keep its whole batch."""
    on_cpu = {key: value.cpu() for key, value in batch.items()}
    return [{key: value[i].clone() for key, value in on_cpu.items()} for i in range(len(on_cpu["sample_id"]))]


def batches_of(rows: Sequence[Row], size: int, trainer: Trainer) -> list[Batch]:
    """Batches of this rank, longest rows first; every rank has as many as the others, where each has a row at all.

    Args:
        rows: the same on every rank.
        size: rows of a batch on one rank.
        trainer: gives the rank.
    """
    ranks = trainer.world_size
    ordered = sorted(rows, key=lambda row: -row["input_ids"].shape[-1])
    count = max(1, min(math.ceil(len(rows) / (size * ranks)), len(rows) // ranks))
    bounds = [len(rows) * part // count for part in range(count + 1)]
    parts = [ordered[start:end][trainer.global_rank :: ranks] for start, end in pairwise(bounds)]
    return [collated(part) for part in parts if part]


def collated(rows: Sequence[Row]) -> Batch:
    """Rows that may be of different widths, padded at the right as the batch contract has it. What stands under the
    pads of ``input_ids`` is masked, so that it may be any token."""
    return {key: padded([row[key] for row in rows], IGNORE if key == "labels" else 0) for key in rows[0]}


def padded(values: Sequence[Tensor], pad: int) -> Tensor:
    shape = [max(sizes) for sizes in zip(*(value.shape for value in values), strict=True)]
    found = values[0].new_full((len(values), *shape), pad)
    for row, value in zip(found, values, strict=True):
        row[tuple(slice(size) for size in value.shape)] = value
    return found
