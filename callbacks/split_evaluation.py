"""A whole split scored: as one, or its sets apart and together."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from ..contracts.batch import Batch
from ..contracts.data import Split
from ..models.meter import Meter
from ..models.set_meters import sets_apart
from .evaluation import Evaluation, Score, evaluate, finetuner, split_loader, split_missing, split_scores


def evaluate_split(
    module: LightningModule,
    split: Split,
    trainer: Trainer,
    score: Score | None = None,
    batches: Sequence[int | float] = (),
) -> dict[str, Evaluation]:
    """Every set of a split apart, and those that are trained on together.

    Args:
        module: a ``FineTuner``.
        split: whose sets.
        trainer: gives device, precision and data.
        score: predictions of a reference; by default the module's.
        batches: at most so many of each loader; by default all.

    Returns:
        ``SPLIT`` -> over all tokens of the sets that are trained on, with their examples, and ``SPLIT/NAME`` -> each;
        ``SPLIT`` alone where the data has but one source, and nothing where there is no such split.
    """
    sets = sets_apart(trainer, split) if has_split(trainer, split) else []
    if not sets:
        loader = split_loader(trainer, split)
        return {} if loader is None else {split: evaluate(module, first(loader, batches, 0), trainer, score)}
    tuner = finetuner(module)
    meter = tuner.full_meter().to(tuner.device)
    found: dict[str, Evaluation] = {}
    for index, each in enumerate(sets):
        also = meter.update if each.pooled else None
        found[each.name] = evaluate(module, first(each.loader, batches, index), trainer, score, also)
    apart = {f"{split}/{name}": part for name, part in found.items()}
    pooled = [each.name for each in sets if each.pooled]
    if not pooled:
        return apart
    parts = [found[name] for name in pooled]
    whole = parts[0] if len(parts) == 1 else _pooled(meter, parts, trainer)
    return {split: whole} | apart | {f"{split}/{name}": replace(found[name], examples={}) for name in pooled}


def _pooled(meter: Meter, parts: Sequence[Evaluation], trainer: Trainer) -> Evaluation:
    """Several sets as one; ``meter`` has seen all their batches."""
    metrics, observed = meter.compute(), [part.observed for part in parts]
    missing = meter.missing() | split_missing(trainer, observed)
    metrics |= split_scores(trainer, observed)[0]
    examples, rows = _joined([part.examples for part in parts]), sum(part.rows for part in parts)
    return Evaluation(metrics, examples, rows, parts[0].notes, (), missing, meter.tables())


def has_split(trainer: Trainer, split: Split) -> bool:
    """Whether there is anything to evaluate; validation may be switched off."""
    if split == "validation" and trainer.limit_val_batches == 0:
        return False
    return bool(sets_apart(trainer, split)) or split_loader(trainer, split) is not None


def logged(found: Mapping[str, Evaluation]) -> dict[str, float]:
    """``val/KEY``, ``val/NAME/KEY``, ``test/KEY`` and ``test/NAME/KEY``; NaN for what is missing this time."""
    return {
        f"{stage_of(split)}/{key}": value
        for split, part in found.items()
        for key, value in (dict.fromkeys(part.missing, math.nan) | part.metrics).items()
    }


def stage_of(split: str) -> str:
    """``validation/NAME`` -> ``val/NAME``."""
    return split.replace("validation", "val", 1) if split.startswith("validation") else split


def first(loader: Iterable[Batch], batches: Sequence[int | float], index: int) -> Iterable[Batch]:
    """At most as many batches as ``batches`` says at this position."""
    if index >= len(batches) or not math.isfinite(batches[index]):
        return loader
    return islice(loader, int(batches[index]))


def _joined(parts: Sequence[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """Columns of several sets behind each other; None where a set has not got a column that another one has."""
    columns = dict.fromkeys(name for part in parts for name in part)
    sizes = [len(next(iter(part.values()), [])) for part in parts]
    return {
        name: [value for part, size in zip(parts, sizes, strict=True) for value in part.get(name, [None] * size)]
        for name in columns
    }
