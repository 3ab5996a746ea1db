"""The metrics of a split that consists of several named sets."""

from collections.abc import Callable, Sequence

from lightning.pytorch import Trainer
from torch import nn

from ..contracts.batch import Batch
from ..contracts.data import EvaluationSet, EvaluationSets, MixedSources, Split
from .meter import Meter
from .scored import Scored

POOLED = ""
"""Name of the sets that are trained on, taken together."""


class SetMeters(nn.Module):
    """One meter for each set, and one over all tokens of the sets that are trained on.

    Args:
        make: gives a fresh meter.
        sets: in the order of the loaders; none where the split is a single set without a name.
    """

    def __init__(self, make: Callable[[], Meter], sets: Sequence[EvaluationSet]) -> None:
        super().__init__()
        self.sets = [(each.name, each.pooled) for each in sets] or [(POOLED, True)]
        self.meters = nn.ModuleList(make() for _ in sets)
        self.pooled = make()

    def update(self, scored: Scored, batch: Batch, index: int = 0) -> None:
        """Add a batch of the set at this position."""
        if self.sets[index][1]:
            self.pooled.update(scored, batch)
        if len(self.meters):
            meter = self.meters[index]
            assert isinstance(meter, Meter)
            meter.update(scored, batch)

    def logged(self, stage: str) -> dict[str, float]:
        """``val/KEY`` and ``val/NAME/KEY``, or the same of ``test``; the same on every rank."""
        by_set = {stage: self.pooled} if any(pooled for _, pooled in self.sets) else {}
        for (name, _), meter in zip(self.sets, self.meters, strict=bool(len(self.meters))):
            assert isinstance(meter, Meter)
            by_set[f"{stage}/{name}"] = meter
        return {f"{where}/{key}": value for where, meter in by_set.items() for key, value in meter.logged().items()}


def sets_apart(trainer: Trainer, split: Split) -> list[EvaluationSet]:
    """The sets of a split, in the order of its loaders; none where the data has but one source."""
    data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    if not isinstance(data, EvaluationSets) or (isinstance(data, MixedSources) and len(data.source_names) == 1):
        return []
    return data.evaluation_sets(split)
