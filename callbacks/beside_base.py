"""The tuned model and its base on the same rows. Legend: N positions, V classes, H width."""

from collections.abc import Callable, Iterable
from typing import TypeAlias, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F

from ..contracts.batch import Batch
from ..models.finetuner import FineTuner
from ..models.headed_encoder import HeadedEncoder
from ..models.losses import SUM_DTYPE
from ..models.sharding import is_sharded
from .evaluation import finetuner, gathered, on_device, undisturbed

HELD = 1 << 26
"""Numbers of the tuned model that wait for the base's, 256 MiB in float32, or one batch where that has more: the base
is switched to once for so many, since for full fine-tuning that moves all weights."""

Look: TypeAlias = Callable[[FineTuner, Batch], Tensor]
Compare: TypeAlias = Callable[[FineTuner, Tensor, Tensor], Tensor]


def divergences(module: LightningModule, batches: Iterable[Batch], trainer: Trainer) -> tuple[float, float] | None:
    """KL(base || tuned) and KL(tuned || base) in nats, each the mean over all supervised positions of all ranks.

    Exact over all classes, from float32 log-softmaxes in chunks of positions. About 1e-7 nats are rounding.
    """
    found = beside_base(module, batches, trainer, logits, both_directions)
    return (found[0], found[1]) if found else None


def feature_drift(module: LightningModule, batches: Iterable[Batch], trainer: Trainer) -> float | None:
    """1 - cosine of what the head reads of the tuned encoder and of its base, the mean over all that it reads."""
    found = beside_base(module, batches, trainer, features, cosine_distance)
    return found[0] if found else None


def beside_base(
    module: LightningModule, batches: Iterable[Batch], trainer: Trainer, look: Look, compare: Compare
) -> list[float] | None:
    """Means over the positions of all batches and ranks; None without a position.

    Leaves weights, gradients, modes and random generators as they were. No more is kept than ``HELD`` numbers.

    Args:
        module: a ``FineTuner`` whose base can be had (``as_base``).
        batches: as many on each rank, where the model is sharded.
        trainer: gives device, precision and ranks.
        look: [N, V] or [N, H] of a batch, under the module as it is now.
        compare: what ``look`` gave under the base, then of the tuned module, to [N, k].
    """
    tuner, held = finetuner(module), []
    sums = torch.zeros(0, dtype=SUM_DTYPE)
    count = 0

    def compare_held() -> None:
        nonlocal sums, count
        with tuner.as_base():
            for batch, tuned in held:
                with trainer.precision_plugin.forward_context():
                    base = look(tuner, batch)
                found = compare(tuner, base, tuned)
                own = found.to(SUM_DTYPE).sum(0).cpu()
                sums, count = own + (sums if count else 0), count + len(found)
        held.clear()

    with undisturbed(module):
        for batch in on_device(batches, trainer):
            with trainer.precision_plugin.forward_context():
                held.append((batch, look(tuner, batch)))
            # In a sharded model all ranks have to switch at the same batch.
            if is_sharded(tuner.model) or sum(tuned.numel() for _, tuned in held) >= HELD:
                compare_held()
        if held:
            compare_held()
    parts = [(own, n) for own, n in gathered((sums.tolist(), count)) if n]
    total = sum(n for _, n in parts)
    return [sum(column) / total for column in zip(*(own for own, _ in parts), strict=True)] if total else None


def logits(tuner: FineTuner, batch: Batch) -> Tensor:
    return tuner.supervised(batch)[0].logits


def both_directions(tuner: FineTuner, base: Tensor, tuned: Tensor) -> Tensor:
    return torch.stack([tuner.likelihood.kl(base, tuned), tuner.likelihood.kl(tuned, base)], dim=-1)


def features(tuner: FineTuner, batch: Batch) -> Tensor:
    return cast(HeadedEncoder, tuner).features(batch).flatten(0, -2)


def cosine_distance(tuner: FineTuner, base: Tensor, tuned: Tensor) -> Tensor:
    """Rows of zeros stand for choices that a question has not."""
    real = base.any(-1)
    return 1 - F.cosine_similarity(base[real].float(), tuned[real].float(), dim=-1).unsqueeze(-1)
