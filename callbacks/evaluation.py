"""Evaluating a module on a whole split without leaving a trace in the run."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
import torch.distributed
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from ..contracts.batch import Batch
from ..contracts.data import EvaluationSource, MixedSources, Split
from ..models.scored import Scored
from ..models.set_meters import sets_apart
from .split_metrics import SplitMetrics

if TYPE_CHECKING:
    from ..models.finetuner import FineTuner

Score: TypeAlias = Callable[[Batch], Scored]
"""How a batch becomes predictions: the module's own, or those of a reference such as the majority class."""


@dataclass(frozen=True)
class Evaluation:
    """A split, scored.

    Args:
        metrics: of the whole split, the same on every rank.
        examples: columns with one entry per row in the order of sample_id; complete on rank 0, empty elsewhere
            and in a trial run.
        rows: rows over all ranks, on rank 0.
        notes: what a reader of the metrics must know.
    """

    metrics: dict[str, float]
    examples: dict[str, list[Any]]
    rows: int
    notes: tuple[str, ...] = ()


def evaluate(
    module: LightningModule,
    loader: Iterable[Batch],
    trainer: Trainer,
    score: Score | None = None,
    also: Callable[[Scored, Batch], None] | None = None,
) -> Evaluation:
    """Stream a split through the module; no logits outlive their batch. The trainer's ``SplitMetrics`` add theirs.

    Args:
        module: a ``FineTuner``.
        loader: a split, each row once over all ranks.
        trainer: gives device and precision.
        score: predictions of a reference; by default the module's.
        also: is given every batch too, e.g. a meter of several sets.
    """
    tuner = finetuner(module)
    score = score or tuner.score
    meter = tuner.meter().to(tuner.device)
    examples: dict[str, list[Any]] = {}
    whole_split = [callback for callback in callbacks_of(trainer) if isinstance(callback, SplitMetrics)]
    if whole_split and isinstance(loader, Iterator):
        loader = list(loader)  # which is read once for each of them
    with undisturbed(module):
        for batch in on_device(loader, trainer):
            with trainer.precision_plugin.forward_context():
                scored = score(batch)
            meter.update(scored, batch)
            if also is not None:
                also(scored, batch)
            for name, values in tuner.example_columns(scored, batch).items():
                examples.setdefault(name, []).extend(values)
        metrics = meter.compute()
    examples = _gathered_by_sample(examples)
    data = data_of(trainer)
    if isinstance(data, MixedSources) and "source_id" in examples:
        examples["source"] = [data.source_names[source] for source in examples["source_id"]]
    rows = len(next(iter(examples.values()), []))
    notes: list[str] = []
    for callback in whole_split:
        with undisturbed(module):
            found, columns = callback.measure(module, loader, trainer)
        metrics |= found
        add_columns(examples, columns)
        notes += callback.notes()
    return Evaluation(metrics, {} if trial_batches(trainer) else examples, rows, tuple(notes))


def add_columns(examples: dict[str, list[Any]], columns: dict[str, list[Any]]) -> None:
    """Put columns of some samples beside those of all; None where a sample was not among them."""
    own = columns.get("sample_id", [])
    for name in columns.keys() - {"sample_id"}:
        values = dict(zip(own, columns[name], strict=True))
        if examples:
            examples[name] = [values.get(sample) for sample in examples["sample_id"]]


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
        Metrics of generated text are of each set alone.
    """
    sets = sets_apart(trainer, split) if has_split(trainer, split) else []
    if not sets:
        loader = split_loader(trainer, split)
        return {} if loader is None else {split: evaluate(module, first(loader, batches, 0), trainer, score)}
    tuner = finetuner(module)
    meter = tuner.meter().to(tuner.device)
    found: dict[str, Evaluation] = {}
    for index, each in enumerate(sets):
        also = meter.update if each.pooled else None
        found[each.name] = evaluate(module, first(each.loader, batches, index), trainer, score, also)
    apart = {f"{split}/{name}": part for name, part in found.items()}
    pooled = [each.name for each in sets if each.pooled]
    if not pooled:
        return apart
    parts = [found[name] for name in pooled]
    metrics = meter.compute() if len(parts) > 1 else parts[0].metrics
    examples, rows = _joined([part.examples for part in parts]), sum(part.rows for part in parts)
    whole = Evaluation(metrics, examples, rows, parts[0].notes)
    return {split: whole} | apart | {f"{split}/{name}": replace(found[name], examples={}) for name in pooled}


def has_split(trainer: Trainer, split: Split) -> bool:
    """Whether there is anything to evaluate; validation may be switched off."""
    if split == "validation" and trainer.limit_val_batches == 0:
        return False
    return bool(sets_apart(trainer, split)) or split_loader(trainer, split) is not None


def logged(found: Mapping[str, Evaluation]) -> dict[str, float]:
    """``val/KEY``, ``val/NAME/KEY``, ``test/KEY`` and ``test/NAME/KEY``."""
    return {f"{stage_of(split)}/{key}": value for split, part in found.items() for key, value in part.metrics.items()}


def stage_of(split: str) -> str:
    """``validation/NAME`` -> ``val/NAME``."""
    return split.replace("validation", "val", 1) if split.startswith("validation") else split


def first(loader: Iterable[Batch], batches: Sequence[int | float], index: int) -> Iterable[Batch]:
    """At most as many batches as ``batches`` says at this position."""
    if index >= len(batches) or not math.isfinite(batches[index]):
        return loader
    return islice(loader, int(batches[index]))


@contextmanager
def undisturbed(module: LightningModule) -> Iterator[None]:
    """Eval mode without gradients; every submodule's mode and every random generator are as before afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with isolate_rng(), torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def on_device(loader: Iterable[Batch], trainer: Trainer) -> Iterator[Batch]:
    """The loader's batches where the module is; a trial run (``fast_dev_run``) looks at as few as it trains on."""
    limit = trial_batches(trainer)
    for index, batch in enumerate(loader):
        if limit and index >= limit:
            return
        yield trainer.strategy.batch_to_device(batch)


def split_loader(trainer: Trainer, split: Split) -> Iterable[Batch] | None:
    """The whole split in fixed order, or None where there is none (or validation is switched off)."""
    if split == "validation" and trainer.limit_val_batches == 0:
        return None
    data = data_of(trainer)
    if isinstance(data, EvaluationSource):
        return data.evaluation_loader(split)
    if split == "validation":
        return trainer.val_dataloaders
    if split == "test" and isinstance(data, LightningDataModule):
        data.setup("test")
        return data.test_dataloader()
    return None


class InitialWeights:
    """The trainable weights as they were at the start, on the CPU: with them the tuned model is the base again.

    Args:
        module: a ``FineTuner`` that has not taken a step.
    """

    def __init__(self, module: LightningModule) -> None:
        self.state: Mapping[str, Tensor] = finetuner(module).trainable_state()

    @contextmanager
    def swapped_in(self, module: LightningModule) -> Iterator[None]:
        """The initial weights while inside, the current ones again afterwards."""
        tuner = finetuner(module)
        tuned = tuner.trainable_state()
        tuner.load_trainable_state(dict(self.state))
        try:
            yield
        finally:
            tuner.load_trainable_state(tuned)


def finetuner(module: LightningModule) -> "FineTuner":
    """Lightning's hooks hand out the general type; these callbacks are made for one kind of module."""
    return cast("FineTuner", module)


def data_of(trainer: Trainer) -> object:
    """The data module, or None. (Lightning sets this attribute and the next where type checkers cannot see it.)"""
    return trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]


def callbacks_of(trainer: Trainer) -> list[Callback]:
    return trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]


def trial_batches(trainer: Trainer) -> int:
    """Batches of a trial run (``fast_dev_run``), which leaves nothing behind; 0 in a real run."""
    return int(trainer.fast_dev_run)  # pyright: ignore[reportAttributeAccessIssue]


def summed(*values: int) -> tuple[int, ...]:
    """Exact sums over the ranks, of integers of any size."""
    return tuple(sum(column) for column in zip(*gathered(values), strict=True))


def gathered(item: Any) -> list[Any]:
    """One Python object per rank, in rank order, on every rank."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [item]
    items: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(items, item)
    return items


def _joined(parts: Sequence[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """Columns of several sets behind each other; None where a set has not got a column that another one has."""
    columns = dict.fromkeys(name for part in parts for name in part)
    sizes = [len(next(iter(part.values()), [])) for part in parts]
    return {
        name: [value for part, size in zip(parts, sizes, strict=True) for value in part.get(name, [None] * size)]
        for name in columns
    }


def _gathered_by_sample(examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
    parts = gathered(examples)
    if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank() != 0:
        return {}
    merged = {name: [value for part in parts for value in part.get(name, [])] for name in parts[0]}
    order = sorted(range(len(merged.get("sample_id", []))), key=merged.get("sample_id", []).__getitem__)
    return {name: [values[i] for i in order] for name, values in merged.items()}
