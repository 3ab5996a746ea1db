"""What differs between two resolved configurations, one line a key, and which of it changes no number."""

import fnmatch
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

NESTING = re.compile(r"\.(init_args|dict_kwargs|\d+)(?=\.|$)")
HARMLESS = (
    "run.*",
    "trainer.logger*",
    "trainer.profiler*",
    "trainer.log_every_n_steps",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.enable_checkpointing",
    "trainer.default_root_dir",
    "trainer.detect_anomaly",
    "data.loader.num_workers",
    "data.loader.pin_memory",
    "data.cache_dir",
)
"""Where a run writes, what it shows, and how its batches are fetched. Ranks and precision are not among them: sums in
another order end in other last digits."""
ABSENT = object()
LONGEST = 80


def plain(key: str) -> str:
    """A key without what jsonargparse lets a user leave out: init_args, list positions, the + of appending."""
    return NESTING.sub("", NESTING.sub("", key.rstrip("+")))


@dataclass(frozen=True)
class Change:
    """One key of two.

    Args:
        key: as in config.yaml, ``init_args`` and list positions included.
        before: as a line shows it.
        after: likewise.
    """

    key: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.key}: {self.before} -> {self.after}"

    @property
    def changes_numbers(self) -> bool:
        return not any(fnmatch.fnmatchcase(plain(self.key), pattern) for pattern in HARMLESS)

    def is_allowed(self, keys: Sequence[str]) -> bool:
        """By its own name or by the beginning of it, with or without ``init_args``."""
        return any(is_beginning(key.rstrip("."), name) for key in keys for name in (self.key, plain(self.key)))


def is_beginning(key: str, name: str) -> bool:
    return name == key or name.startswith(f"{key}.")


def changes(before: Any, after: Any, key: str = "") -> Iterator[Change]:
    """Every key at which two configurations differ.

    A class in the place of another is one change, since the arguments of the two cannot be compared; so is an entry
    that a list has gained or lost.
    """
    if isinstance(before, dict) and isinstance(after, dict) and before.get("class_path") == after.get("class_path"):
        for name in dict.fromkeys((*before, *after)):
            yield from changes(before.get(name, ABSENT), after.get(name, ABSENT), f"{key}.{name}" if key else name)
    elif isinstance(before, list) and isinstance(after, list) and holds_entries([*before, *after]):
        for place in range(max(len(before), len(after))):
            was, becomes = (entries[place] if place < len(entries) else ABSENT for entries in (before, after))
            yield from changes(was, becomes, f"{key}.{place}")
    elif before != after or isinstance(before, bool) != isinstance(after, bool):
        yield Change(key, shown(before), shown(after))


def holds_entries(values: list[Any]) -> bool:
    return any(isinstance(value, dict) for value in values)


def shown(value: Any) -> str:
    if value is ABSENT:
        return "(none)"
    if isinstance(value, dict) and "class_path" in value:
        return str(value["class_path"])
    if isinstance(value, list) and holds_entries(value):
        return f"[{', '.join(map(shown, value))}]"
    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, str) else value
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
