"""Metrics of a whole split that scoring batch by batch cannot give."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ..contracts.batch import Batch


class SplitMetrics(Callback, ABC):
    """Measures a split beside the module's own meter, wherever a split is evaluated: base, tuned and every validation.

    ``callbacks.evaluation.evaluate`` calls it with the module undisturbed (evaluation mode, no gradients, random
    generators restored afterwards). Of several sets each is observed once, and scored apart and in the pool.
    """

    @abstractmethod
    def observe(self, module: LightningModule, loader: Iterable[Batch], trainer: Trainer) -> Any:
        """What ``scores`` needs of one set, complete and the same on every rank.

        Args:
            module: a ``FineTuner``.
            loader: a set; over all ranks each row once. Batches lie where the loader made them.
            trainer: gives precision and ranks.
        """

    @abstractmethod
    def scores(self, observed: Sequence[Any]) -> tuple[dict[str, float], dict[str, list[Any]]]:
        """The metrics of one observed set, or of several together, and columns of examples.

        Returns:
            Metrics by name, and columns with one entry per row measured, ``sample_id`` among them; empty where nothing
            was measured.
        """

    def missing(self, observed: Sequence[Any]) -> dict[str, str]:
        """Metrics that these sets do not define -> why."""
        return {}

    def notes(self) -> list[str]:
        """What a reader of the metrics must know."""
        return []
