"""The accumulation window: what one optimizer step is made of."""

from dataclasses import dataclass, field

import torch
import torch.distributed
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from ..contracts.batch import Batch
from .losses import SUM_DTYPE
from .regularizers.regularizer import Step


@dataclass
class Consumed:
    """What one source of a mixture gave, over all ranks.

    Args:
        nll: sum over its supervised tokens.
        tokens: its supervised tokens.
        rows: its samples.
    """

    nll: float = 0.0
    tokens: int = 0
    rows: int = 0

    def add(self, other: "Consumed") -> None:
        self.nll, self.tokens, self.rows = self.nll + other.nll, self.tokens + other.tokens, self.rows + other.rows


@dataclass
class Window:
    """Sums over one optimizer step.

    Args:
        sources: how many sources are told apart; 0 in a run on a single one.
        alone: the gradients of this window stay on their rank, so that one may be wrong on this rank only.
        turn: index of the current micro-batch.
        batches: kept only where a method replays the window.
        sample_ids: of every micro-batch, to be named if something goes wrong.
        totals: the objective of every micro-batch, to find it.
        unit: what this window's losses were divided by.
        tokens: supervised tokens; this rank's until ``reduce``, then the step's over all ranks.
        objective: this rank's sum of the objective in the latest pass over the window.
        sums: nll, total (with token terms) and each term's shown value, summed over supervised tokens.
    """

    sources: int = 0
    alone: bool = False
    turn: int = -1
    batches: list[Batch] = field(default_factory=list)
    sample_ids: list[Tensor] = field(default_factory=list)
    totals: list[Tensor] = field(default_factory=list)
    unit: float = 1.0
    tokens: int = 0
    objective: Tensor | float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)
    means: dict[str, float] = field(default_factory=dict)
    by_source: Tensor | None = None
    seen: list[Consumed] = field(default_factory=list)

    def open(self, batch: Batch, keep: bool) -> None:
        self.turn += 1
        if keep:
            self.batches.append(batch)
        self.sample_ids.append(batch["sample_id"] if "sample_id" in batch else torch.zeros(0, dtype=torch.long))

    def add(self, tokens: int, nll: Tensor, total: Tensor, shown: dict[str, Tensor]) -> None:
        self.tokens += tokens
        self.totals.append(total.detach())
        for name, value in {"nll": nll, "total": total, **shown}.items():
            value = value.detach().to(SUM_DTYPE)
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def add_sources(self, batch: Batch, step: Step) -> None:
        """Sums of each source, shape [3, sources]: nll, supervised tokens, rows; nothing in a run on a single one."""
        if not self.sources:
            return
        rows, nll = batch["source_id"], step.nll.detach().to(SUM_DTYPE)
        tokens = rows[step.rows]
        sums = torch.zeros(3, self.sources, dtype=SUM_DTYPE, device=nll.device)
        sums[0].index_add_(0, tokens, nll)
        sums[1].index_add_(0, tokens, torch.ones_like(nll))
        sums[2].index_add_(0, rows, torch.ones_like(rows, dtype=SUM_DTYPE))
        self.by_source = sums if self.by_source is None else self.by_source + sums

    def reduce(self, strategy: Strategy) -> None:
        """One reduction an optimizer step: the global count, every sum (divided by it), and each source's own."""
        count = torch.tensor(self.tokens, dtype=SUM_DTYPE, device=self.sums["nll"].device)
        parts = [torch.stack([count, *self.sums.values()])]
        if self.by_source is not None:
            parts.append(self.by_source.flatten())
        numbers = strategy.reduce(torch.cat(parts), reduce_op="sum").tolist()
        self.tokens = round(numbers[0])
        own = numbers[1 + len(self.sums) :]
        self.seen = [
            Consumed(own[i], round(own[self.sources + i]), round(own[2 * self.sources + i]))
            for i in range(self.sources)
        ]
        if self.tokens:
            self.means = {name: value / self.tokens for name, value in zip(self.sums, numbers[1:], strict=False)}

    def mean_objective(self, strategy: Strategy) -> float:
        """The latest pass's mean over the step's tokens, after ``reduce``."""
        whole = strategy.reduce(torch.as_tensor(self.objective), reduce_op="sum")
        return float(whole) / self.tokens

    def mean(self, name: str) -> float:
        return self.means[name]

    def shown_means(self) -> dict[str, float]:
        return {name: value for name, value in self.means.items() if name not in ("nll", "total")}

    def samples(self) -> list[list[int]]:
        """The step's sample ids by rank; every rank has to ask, but of a window ``alone``, which knows its own."""
        own = [i for ids in self.sample_ids for i in ids.tolist()]
        return here(own) if self.alone else everywhere(own)

    def bad_samples(self) -> list[list[int]]:
        """Those of the micro-batches whose objective is not finite, by rank; every rank has to ask."""
        pairs = zip(self.sample_ids, self.totals, strict=True)
        return everywhere([i for ids, total in pairs if not bool(total.isfinite()) for i in ids.tolist()])


def here(ids: list[int]) -> list[list[int]]:
    """Those of this rank in its place, without asking the others."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [ids]
    rank = torch.distributed.get_rank()
    return [ids if other == rank else [] for other in range(torch.distributed.get_world_size())]


def everywhere(ids: list[int]) -> list[list[int]]:
    """Those of each rank, in rank order."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [ids]
    found: list[list[int]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(found, ids)
    return found
