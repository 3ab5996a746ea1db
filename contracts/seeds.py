"""Three seeds of a replicate, and numbers derived from them that no other draw can shift."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Seeds:
    """The seeds of one run; arms that share them are paired.

    Args:
        data: order of the training rows, subsets and splits.
        init: weights of a new head and of the adapter.
        train: dropout and the noise of methods.
    """

    data: int = 1
    init: int = 1
    train: int = 1

    @classmethod
    def of(cls, value: int | dict[str, int] | Seeds) -> Seeds:
        """One integer stands for all three."""
        if isinstance(value, Seeds):
            return value
        if isinstance(value, int):
            return cls(value, value, value)
        return cls(**value)

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def derive(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part and on nothing else: ``derive(seeds.train, step, micro_batch, rank)``.

    Counting instead of streaming is what keeps arms paired: an extra forward, probe or loader takes another
    count and leaves every other draw where it was.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
