"""The accumulation window: what one optimizer step is made of."""

import math
from dataclasses import dataclass, field

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from ..contracts.batch import Batch
from .losses import SUM_DTYPE
from .regularizers.regularizer import Regularizer


class NonFiniteError(RuntimeError):
    """A loss or gradient stopped being a number; raised before the update, so the weights are still good."""


@dataclass
class Window:
    """Sums over one optimizer step.

    Args:
        turn: index of the current micro-batch.
        batches: kept only where a method replays the window.
        sample_ids: of every row, to be named if something goes wrong.
        unit: what this window's losses were divided by.
        tokens: supervised tokens; this rank's until ``reduce``, then the step's over all ranks.
        sums: nll, total (with token terms) and each term's shown value, summed over supervised tokens.
    """

    turn: int = -1
    batches: list[Batch] = field(default_factory=list)
    sample_ids: list[Tensor] = field(default_factory=list)
    unit: float = 1.0
    tokens: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    means: dict[str, float] = field(default_factory=dict)

    def open(self, batch: Batch, keep: bool) -> None:
        self.turn += 1
        if keep:
            self.batches.append(batch)
        if "sample_id" in batch:
            self.sample_ids.append(batch["sample_id"])

    def add(self, tokens: int, nll: Tensor, total: Tensor, shown: dict[str, Tensor]) -> None:
        self.tokens += tokens
        for name, value in {"nll": nll, "total": total, **shown}.items():
            value = value.detach().to(SUM_DTYPE)
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def reduce(self, strategy: Strategy) -> None:
        """One reduction an optimizer step: the global count and every sum, divided by it."""
        count = torch.tensor(self.tokens, dtype=SUM_DTYPE, device=self.sums["nll"].device)
        numbers = strategy.reduce(torch.stack([count, *self.sums.values()]), reduce_op="sum").tolist()
        self.tokens = round(numbers[0])
        if self.tokens:
            self.means = {name: value / self.tokens for name, value in zip(self.sums, numbers[1:], strict=True)}

    def mean(self, name: str) -> float:
        return self.means[name]

    def shown_means(self) -> dict[str, float]:
        return {name: value for name, value in self.means.items() if name not in ("nll", "total")}


def require_finite(window: Window, norm: Tensor, rate: float, scaled: bool) -> None:
    """Stop before the update if anything is not a number.

    Args:
        window: reduced, so that every rank decides alike.
        norm: of the gradient before clipping.
        rate: learning rate, to be named.
        scaled: under float16 loss scaling an infinite gradient is normal and its step is skipped by the scaler.

    Raises:
        NonFiniteError: names the term, the samples and the rate.
    """
    bad = [name for name, value in window.means.items() if not math.isfinite(value)]
    if not bad and (scaled or bool(norm.isfinite())):
        return
    cause = f"the value of {bad[0]}" if bad else f"the gradient norm ({norm.item()})"
    ids = [i for part in window.sample_ids for i in part.tolist()]
    raise NonFiniteError(
        f"Training stopped before the update: {cause} is not finite. Learning rate {rate:.3g}, sample ids {ids[:16]}"
        f"{' ...' if len(ids) > 16 else ''}. Lower the learning rate, set trainer.gradient_clip_val, or look at "
        "these rows."
    )


def unique_names(regularizers: list[Regularizer]) -> list[str]:
    """Class names, numbered from the second of a kind on: RDrop, L2SP, L2SP_2."""
    names: list[str] = []
    for regularizer in regularizers:
        name = type(regularizer).__name__
        seen = sum(n.partition("_")[0] == name for n in names)
        names.append(f"{name}_{seen + 1}" if seen else name)
    return names
