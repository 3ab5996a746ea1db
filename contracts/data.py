"""What callbacks may ask of a data module; one that has not got it still trains, and what is missing is reported."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from .batch import Batch
from .targets import TargetKind

Split = Literal["train", "validation", "test"]


@runtime_checkable
class EvaluationSource(Protocol):
    """Whole splits in a fixed order, apart from the training stream."""

    def evaluation_loader(self, split: Split) -> Iterable[Batch] | None:
        """Every row of a split once over all ranks, in an order of its own; None where there is no such split."""
        ...


@runtime_checkable
class AuditedSource(Protocol):
    """A data module that has looked at its rows.

    Attributes:
        report: what was found, ready for JSON; filled by ``setup``.
        fingerprint: digest of the rows, the template and the tokenizer.
    """

    @property
    def report(self) -> dict[str, Any]: ...

    @property
    def fingerprint(self) -> str: ...

    def render_report(self) -> str:
        """The report as a page of plain text."""
        ...


@runtime_checkable
class LabelledSource(Protocol):
    """A data module for classification."""

    @property
    def label_names(self) -> list[str] | None:
        """The classes in the order of their indices."""
        ...


@runtime_checkable
class TrainedLabels(Protocol):
    """A data module that can take its classes from a checkpoint."""

    def use_labels(self, names: list[str] | None) -> None:
        """Called before ``setup``, with None where the checkpoint has no classes."""
        ...


@runtime_checkable
class TemplatedSource(Protocol):
    """A data module that reads its rows with a template."""

    @property
    def template_target(self) -> tuple[str, TargetKind | None]:
        """Name of the template, and the kind of target that it gives; None where it does not say."""
        ...


@dataclass(frozen=True)
class PackedSamples:
    """The same training samples in two layouts, in the same order.

    Args:
        packed: in one row, see ``contracts.batch``.
        padded: one a row.
        padding_free: training batches are one such row each.
    """

    packed: Batch
    padded: Batch
    padding_free: bool


@runtime_checkable
class PackingSource(Protocol):
    """A data module whose training samples may share rows."""

    def packing_probe(self) -> PackedSamples | None:
        """Some training samples packed and padded; None where no two samples share a row."""
        ...


@dataclass(frozen=True)
class EvaluationSet:
    """One of several named sets of a split.

    Args:
        name: as the configuration calls it; metrics are logged as ``val/NAME/KEY`` and ``test/NAME/KEY``.
        loader: every row once over all ranks, in a fixed order.
        pooled: whether it counts for ``val/KEY`` and ``test/KEY``: it belongs to what is trained on.
    """

    name: str
    loader: Iterable[Batch]
    pooled: bool


@runtime_checkable
class EvaluationSets(Protocol):
    """A data module whose ``val_dataloader`` and ``test_dataloader`` give one loader for each of these sets."""

    def evaluation_sets(self, split: Split) -> list[EvaluationSet]:
        """The sets of a split, in the order of the loaders; empty where there is no such split."""
        ...


@runtime_checkable
class MixedSources(Protocol):
    """A data module with named sources.

    Attributes:
        source_names: what ``source_id`` is an index into: those that are trained on, then the other evaluation sets.
        training_names: the first of them, those that are trained on.
    """

    @property
    def source_names(self) -> list[str]: ...

    @property
    def training_names(self) -> list[str]: ...


@dataclass(frozen=True)
class RehearsalBatches:
    """Batches of one split that are tried before training; no loader is read for them, so that no draw is shifted.

    Args:
        longest: the longest rows of the split, as many as a batch of this rank has.
        typical: a batch of the first epoch whose padded size is nearest to the mean.
        sample: rows at even distances of the whole split, padded, never packed; the same on every rank.
    """

    longest: Batch
    typical: Batch
    sample: Batch


@runtime_checkable
class RehearsalSource(Protocol):
    """A data module whose longest batches are known before training.

    Attributes:
        tokenizer: what the rows were encoded with (``finelab.data.tokenizer.LoadedTokenizer``).
        predicts_text: a target is an answer to be written, which has an end.
    """

    @property
    def tokenizer(self) -> Any: ...

    @property
    def predicts_text(self) -> bool: ...

    def rehearsal(self, split: Literal["train", "validation"]) -> RehearsalBatches | None:
        """None where there is no such split."""
        ...


@runtime_checkable
class ProbeSource(Protocol):
    """A data module that gives a fixed part of its training rows to look at, apart from the training stream."""

    def probe_loader(self, rows: int) -> Iterable[Batch] | None:
        """Training rows as evaluation has them (padded, one sample a row), the same at any time.

        Args:
            rows: how many over all ranks; fewer where there are not so many.

        Returns:
            Each row once over the ranks, in a fixed order; None where there are no training rows.
        """
        ...

    def document_of(self, split: Split, samples: np.ndarray) -> np.ndarray:
        """Which samples come from one row of the source, e.g. the windows of a document.

        Args:
            split: whose samples.
            samples: [n] sample ids.

        Returns:
            [n] the id of the first sample of the same row.
        """
        ...
