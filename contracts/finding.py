"""What a check of a configuration says."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "error")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: what was looked at, in a few words.
        level: ``error`` where training would fail or teach the wrong thing, ``warning`` where it may.
        seen: the value that was found, a sentence without its full stop.
        cure: the key to change and its value; empty where nothing is wrong.
    """

    name: str
    level: Level
    seen: str
    cure: str = ""

    @property
    def paragraph(self) -> str:
        """For a message: all of it."""
        return " ".join(part for part in (f"{self.name}: {self.seen}.", self.cure) if part)


def ok(name: str, seen: str) -> Finding:
    return Finding(name, "ok", seen)


def worst(findings: Iterable[Finding]) -> Level:
    """The most serious level; ``ok`` of none."""
    return LEVELS[max((LEVELS.index(finding.level) for finding in findings), default=0)]
