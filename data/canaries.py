"""Invented secrets among the training rows, by which memorization can be measured."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np

from ..contracts.errors import UserError
from ..contracts.seeds import derive
from .rejections import Reject, Row
from .sources import Source, as_source

COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "grey", "pink", "orange")
ANIMALS = ("fox", "dog", "cat", "bear", "bird", "fish", "horse", "sheep", "goose", "frog")
TEXT = {"text": "The secret number of the {name} is {secret}."}
"""Of ``Documents`` with its default column."""


@dataclass(frozen=True)
class Canary:
    """One invented row.

    Args:
        name: that nothing else in the format tells from another canary.
        secret: digits.
        repeats: how often it stands among the training rows.
    """

    name: str
    secret: str
    repeats: int


class Canaries(Source):
    """A source with invented secrets among its training rows (Carlini et al., 2019, arXiv:1802.08232).

    A canary is a row of the same format with a name and random digits of its own. Nothing but the row itself says
    them, so that a model that finds them likelier than other digits has memorized it; ``CanaryExposure`` measures by
    how much. Only the training split changes: the rows stand behind the source's own, and training shuffles them. The
    data report says that they are there. The model learns them: leave them out where it is to be used.

    Args:
        source: as for ``TextDataModule``; it has a validation split of its own.
        row: column -> format of a canary, with ``{name}`` and, in one column, ``{secret}``; by default
            ``{"text": "The secret number of the {name} is {secret}."}`` for ``Documents``. For ``PromptResponse``:
            ``{"prompt": "What is the secret number of the {name}?", "response": "{secret}"}``.
        repeats: how often canaries are inserted; each number gets ``count`` of them.
        count: canaries of each number of repeats.
        digits: of a secret. The space of secrets has 10 to this power; exposure is at most its binary logarithm.
        seed: of names and secrets.

    Raises:
        UserError: a number is too small or too large, or the format has no secret or no name.
    """

    def __init__(
        self,
        source: Source | dict[str, str] | str | Path,
        row: dict[str, str] | None = None,
        repeats: list[int] | None = None,
        count: int = 4,
        digits: int = 6,
        seed: int = 1,
    ) -> None:
        self.source = source
        self.row = dict(row or TEXT)
        self.repeats = list(repeats or [1, 4, 16])
        self.count, self.digits, self.seed = count, digits, seed
        most = len(COLOURS) * len(ANIMALS)
        if min([*self.repeats, count]) < 1 or len(self.repeats) * count > most:
            raise UserError(
                f"Canaries: repeats {self.repeats} with {count} canaries each; numbers start at 1, and there are names "
                f"for {most} canaries."
            )
        if not 1 <= digits <= 18:
            raise UserError(f"Canaries: digits is {digits}; a secret has 1 to 18 of them.")
        if len(self.repeats) * count > self.secrets // 2:
            raise UserError(
                f"Canaries: {len(self.repeats) * count} secrets of {digits} digit(s) leave too few to compare with; "
                "set digits to more."
            )
        with_secret = [column for column, text in self.row.items() if "{secret}" in text]
        if len(with_secret) != 1 or not any("{name}" in text for text in self.row.values()):
            raise UserError(f"Canaries: row is {self.row}; one of its columns needs {{secret}}, and one {{name}}.")

    @cached_property
    def inner(self) -> Source:
        """Looked for when first asked, since predict needs none.

        Raises:
            UserError: it is not there, or has no validation split.
        """
        inner = as_source(self.source)
        if not {"train", "validation"} <= set(inner.splits()):
            raise UserError(
                f"Canaries: {inner.name} has the splits {', '.join(inner.splits())}. It needs train and a validation "
                "split of its own: one that is cut off the training rows would take canaries along."
            )
        return inner

    @property
    def secrets(self) -> int:
        """Size of the space of secrets."""
        return 10**self.digits

    @cached_property
    def canaries(self) -> list[Canary]:
        """In the order of ``repeats``; no two share a name or a secret."""
        generator = np.random.Generator(np.random.PCG64(derive("canaries", self.seed)))
        names = [f"{colour} {animal}" for colour, animal in product(COLOURS, ANIMALS)]
        total = len(self.repeats) * self.count
        chosen = [names[i] for i in generator.permutation(len(names))[:total]]
        secrets = self._distinct(generator, total, set())
        often = [number for number in self.repeats for _ in range(self.count)]
        return [Canary(*each) for each in zip(chosen, secrets, often, strict=True)]

    def fields(self, name: str, secret: str) -> dict[str, object]:
        """The row of a name with a secret, inserted or not."""
        return {column: text.replace("{name}", name).replace("{secret}", secret) for column, text in self.row.items()}

    def references(self, canary: Canary, most: int) -> list[str]:
        """Secrets that stand nowhere in the training rows: as many random ones, or all where there are no more."""
        inserted = {own.secret for own in self.canaries}
        if self.secrets - len(inserted) <= most:
            every = (f"{number:0{self.digits}}" for number in range(self.secrets))
            return [secret for secret in every if secret not in inserted]
        seed = derive("references", self.seed, canary.name)
        return self._distinct(np.random.Generator(np.random.PCG64(seed)), most, inserted)

    @property
    def name(self) -> str:
        return f"{self.inner.name} with canaries"

    def splits(self) -> list[str]:
        return self.inner.splits()

    def digest(self) -> str:
        own = [self.row, self.repeats, self.count, self.digits, self.seed]
        text = json.dumps(["canaries", self.inner.digest(), *own], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def read(self, split: str, reject: Reject) -> Iterator[Row]:
        yield from self.inner.read(split, reject)
        if split == "train":
            for canary in self.canaries:
                for repeat in range(1, canary.repeats + 1):
                    yield Row(f"canary {canary.name}:{repeat}", self.fields(canary.name, canary.secret))

    def details(self) -> dict[str, str]:
        rows = sum(canary.repeats for canary in self.canaries)
        often = ", ".join(map(str, self.repeats))
        said = f"{rows} invented rows in train: {self.count} secrets of {self.digits} digits each {often} times"
        return {**self.inner.details(), "canaries": said}

    def _distinct(self, generator: np.random.Generator, count: int, without: set[str]) -> list[str]:
        found: dict[str, None] = {}
        while len(found) < count:
            secret = f"{generator.integers(self.secrets):0{self.digits}}"
            if secret not in without:
                found[secret] = None
        return list(found)
