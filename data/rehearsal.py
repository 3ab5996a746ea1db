"""The batches of a split that are tried before training, taken from its rows and not from its loader."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import numpy as np
from torch.utils.data import DataLoader

from ..contracts.batch import Batch
from ..contracts.data import RehearsalBatches
from .sampler import FixedBatchSampler, GlobalBatchSampler

SAMPLED = 256
"""Most rows whose tokens are looked at."""


def of_split(
    split: Literal["train", "validation"], whole: DataLoader | None, training: Callable[[], DataLoader]
) -> RehearsalBatches | None:
    """
    Args:
        split: whose batches.
        whole: the split as for evaluation; None where there is none.
        training: gives the loader of training.
    """
    if whole is None:
        return None
    return of_training(training(), whole) if split == "train" else of_evaluation(whole)


def of_training(loader: DataLoader, whole: DataLoader) -> RehearsalBatches:
    """
    Args:
        loader: of training; it is not iterated.
        whole: the same split, as for evaluation.
    """
    sampler: Any = loader.batch_sampler
    assert isinstance(sampler, GlobalBatchSampler)
    order, rank, ranks = sampler.sampler, sampler.rank, sampler.world_size
    longest = np.argsort(-order.lengths, kind="stable")[: order.global_batch]
    nearest = typical(order.batches()[: len(sampler)], order.lengths)
    batches = (collated(loader, rows[rank::ranks]) for rows in (longest, nearest))
    return RehearsalBatches(*batches, sample=even(whole))


def of_units(units: list[Any], size: int, collate: Callable[[Any], Batch], sample: Batch) -> RehearsalBatches:
    """
    Args:
        units: of a stream's first chunk in its order: samples, or lists of those that share a row.
        size: units of a batch.
        collate: of training.
        sample: some of the samples, padded.
    """
    longest = sorted(units, key=lambda unit: -tokens_of(unit))[:size]
    return RehearsalBatches(collate(longest), collate(units[:size]), sample)


def tokens_of(unit: Any) -> int:
    return sum(len(sample["input_ids"]) for sample in (unit if isinstance(unit, list) else [unit]))


def of_evaluation(loader: DataLoader) -> RehearsalBatches:
    sampler: Any = loader.batch_sampler
    assert isinstance(sampler, FixedBatchSampler)
    longest, middle = sampler.batches[0], sampler.batches[len(sampler) // 2]
    return RehearsalBatches(collated(loader, longest), collated(loader, middle), even(loader))


def typical(batches: Sequence[np.ndarray], lengths: np.ndarray) -> np.ndarray:
    """The batch whose padded size is nearest to the mean."""
    sizes = np.array([len(batch) * lengths[batch].max() for batch in batches])
    return batches[int(np.abs(sizes - sizes.mean()).argmin())]


def even(loader: DataLoader) -> Batch:
    dataset: Any = loader.dataset
    return collated(loader, np.unique(np.linspace(0, len(dataset) - 1, min(SAMPLED, len(dataset))).astype(int)))


def collated(loader: DataLoader, rows: Sequence[int] | np.ndarray) -> Batch:
    return cast("Batch", loader.collate_fn([loader.dataset[int(row)] for row in rows]))
