"""Which rows trained which steps, in a few numbers that can be compared between two runs."""

import hashlib
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

MODULUS = 1 << 64
LONGEST = 128
"""Most stretches of a trail; then two become one."""


@dataclass
class OrderTrail:
    """Per stretch of ``every`` optimizer steps, the sum modulo 2^64 of a hash of (step, sample_id) over all rows.

    A sum does not depend on how a step's rows fall into micro-batches and ranks, so two runs saw the same rows at the
    same steps exactly when (up to a chance of 2^-64) their sums agree, and the first stretch whose sums differ says
    where they parted. Stretches start as single steps and double whenever there are more than ``LONGEST`` of them: a
    trail is a few kilobytes at any length of a run.

    Args:
        every: optimizer steps in a stretch, a power of two.
        sums: of the stretches, from step 0 on.
    """

    every: int = 1
    sums: list[int] = field(default_factory=list)

    def add(self, step: int, sample_ids: list[int]) -> None:
        self._add(step, sum(hash_of(step, sample_id) for sample_id in sample_ids))

    def merge(self, other: "OrderTrail") -> None:
        """Take over what another rank, or this run before it was resumed, has seen."""
        self._widen(other.every)
        for index, value in enumerate(other.sums):
            self._add(index * other.every, value)

    @property
    def digest(self) -> str:
        """Of all steps in one number, 16 hexadecimal digits."""
        return f"{sum(self.sums) % MODULUS:016x}"

    def parting(self, other: "OrderTrail") -> range | None:
        """The steps among which two runs first saw other rows, or where one of them ended; None where none did."""
        ours, theirs = OrderTrail(self.every, self.sums), OrderTrail(other.every, other.sums)
        ours._widen(theirs.every)
        theirs._widen(ours.every)
        for index, (one, two) in enumerate(zip_longest(ours.sums, theirs.sums, fillvalue=0)):
            if one != two:
                return range(index * ours.every, (index + 1) * ours.every)
        return None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"every": self.every, "sums": [f"{value:016x}" for value in self.sums]}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "OrderTrail":
        """Raises:
        ValueError: this is no trail.
        """
        every, sums = plain.get("every"), plain.get("sums")
        if not isinstance(every, int) or every < 1 or every & (every - 1):
            raise ValueError(f"every is {every!r} and no power of two")
        if not isinstance(sums, list) or not all(isinstance(value, str) for value in sums):
            raise ValueError("sums is no list of hexadecimal numbers")
        return cls(every, [int(value, 16) for value in sums])

    def _add(self, step: int, value: int) -> None:
        while step // self.every >= LONGEST:
            self._widen(2 * self.every)
        index = step // self.every
        self.sums += [0] * (index + 1 - len(self.sums))
        self.sums[index] = (self.sums[index] + value) % MODULUS

    def _widen(self, every: int) -> None:
        """At least so many steps a stretch."""
        if (parts := every // self.every) > 1:
            starts = range(0, len(self.sums), parts)
            self.sums = [sum(self.sums[start : start + parts]) % MODULUS for start in starts]
            self.every = every


def hash_of(step: int, sample_id: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{step}:{sample_id}".encode(), digest_size=8).digest(), "big")
