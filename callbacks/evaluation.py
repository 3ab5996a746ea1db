"""Evaluating a module on a whole split without leaving a trace in the run."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
import torch.distributed
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from ..contracts.batch import Batch
from ..contracts.data import EvaluationSource, MixedSources, Split
from ..models.scored import Scored
from .interruption import check_interruption, shared_batches
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
        missing: metrics of the module and of the trainer's ``SplitMetrics`` that this split does not define -> why.
        tables: what is no single number, as JSON (``Meter.tables``).
        observed: what each of the trainer's ``SplitMetrics`` took of it, from which several sets are scored together.
    """

    metrics: dict[str, float]
    examples: dict[str, list[Any]]
    rows: int
    notes: tuple[str, ...] = ()
    observed: tuple[Any, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)


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
    meter = tuner.full_meter().to(tuner.device)
    examples: dict[str, list[Any]] = {}
    if isinstance(loader, Iterator) and split_metrics_of(trainer):
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
        metrics, missing, tables = meter.compute(), meter.missing(), meter.tables()
    examples = _gathered_by_sample(examples)
    data = data_of(trainer)
    if isinstance(data, MixedSources) and "source_id" in examples:
        examples["source"] = [data.source_names[source] for source in examples["source_id"]]
    rows = len(next(iter(examples.values()), []))
    with undisturbed(module):
        observed = tuple(callback.observe(module, loader, trainer) for callback in split_metrics_of(trainer))
    found, columns, notes = split_scores(trainer, [observed])
    for added in columns:
        add_columns(examples, added)
    missing |= split_missing(trainer, [observed])
    examples = {} if trial_batches(trainer) else examples
    return Evaluation(metrics | found, examples, rows, notes, observed, missing, tables)


def example_columns(module: LightningModule, loader: Iterable[Batch], trainer: Trainer) -> list[dict[str, list[Any]]]:
    """The per-example columns of this rank's batches, and nothing else."""
    tuner, found = finetuner(module), []
    with undisturbed(module):
        for batch in on_device(loader, trainer):
            with trainer.precision_plugin.forward_context():
                found.append(tuner.example_columns(tuner.score(batch), batch))
    return found


def split_scores(
    trainer: Trainer, observed: Sequence[tuple[Any, ...]]
) -> tuple[dict[str, float], list[dict[str, list[Any]]], tuple[str, ...]]:
    """Of one set or several together, what each of the trainer's ``SplitMetrics`` says: metrics, columns of examples by
    callback, and notes."""
    metrics: dict[str, float] = {}
    columns: list[dict[str, list[Any]]] = []
    notes: list[str] = []
    for index, callback in enumerate(split_metrics_of(trainer)):
        found, added = callback.scores([of_set[index] for of_set in observed])
        metrics |= found
        columns.append(added)
        notes += callback.notes()
    return metrics, columns, tuple(notes)


def split_missing(trainer: Trainer, observed: Sequence[tuple[Any, ...]]) -> dict[str, str]:
    """Of one set or several together, which metrics of the trainer's ``SplitMetrics`` are not defined, and why."""
    return {
        name: reason
        for index, callback in enumerate(split_metrics_of(trainer))
        for name, reason in callback.missing([of_set[index] for of_set in observed]).items()
    }


def split_metrics_of(trainer: Trainer) -> list[SplitMetrics]:
    return [callback for callback in callbacks_of(trainer) if isinstance(callback, SplitMetrics)]


def add_columns(examples: dict[str, list[Any]], columns: dict[str, list[Any]]) -> None:
    """Put columns of some samples beside those of all; None where a sample was not among them."""
    own = columns.get("sample_id", [])
    for name in columns.keys() - {"sample_id"}:
        values = dict(zip(own, columns[name], strict=True))
        if examples:
            examples[name] = [values.get(sample) for sample in examples["sample_id"]]


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
    """The loader's batches where the module is; a trial run (``fast_dev_run``) looks at as few as it trains on.

    Raises:
        Interrupted: the run was asked to stop.
    """
    limit = trial_batches(trainer)
    shared = shared_batches(trainer, len(loader) if isinstance(loader, Sized) else math.inf)
    for index, batch in enumerate(loader):
        if limit and index >= limit:
            return
        check_interruption(trainer, index, shared)
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


@contextmanager
def untouched_base(module: LightningModule) -> Iterator[None]:
    """Inside, the module predicts as the base does, wherever training stands; only a new head is as it is.

    Nothing changes where the adapter has rewritten the base: there is no way back then, and no reference of the base.
    """
    tuner = finetuner(module)
    if tuner.adapter.base_is == "lost":
        yield
        return
    tuner.zero_grad()  # makes room for the base's weights beside the tuned ones
    with tuner.as_base():
        yield


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


def _gathered_by_sample(examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
    parts = gathered(examples)
    if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank() != 0:
        return {}
    merged = {name: [value for part in parts for value in part.get(name, [])] for name in parts[0]}
    order = sorted(range(len(merged.get("sample_id", []))), key=merged.get("sample_id", []).__getitem__)
    return {name: [values[i] for i in order] for name, values in merged.items()}
