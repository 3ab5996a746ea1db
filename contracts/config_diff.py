"""What differs between two resolved configurations, one line a key, and which of it changes no number."""

import difflib
import fnmatch
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from .errors import UserError

CLASS_PARTS = re.compile(r"\.(init_args|dict_kwargs)(?=\.|$)")
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
DATA = "data.fingerprint"
"""The key under which the change of rows, template or tokenizer is allowed, which stands in no configuration."""
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
        """By its own name or by the beginning of it, with or without each ``init_args`` and list position."""
        return any(covers(key, self.key) for key in keys)


def covers(key: str, name: str) -> bool:
    """Whether a key as a user types it is that of the name, or its beginning.

    Args:
        key: ``init_args`` and list positions may be left out; with ``class_path`` at its end it is the class's.
        name: as in config.yaml.
    """
    key = key.rstrip(".+").removesuffix(".class_path")
    short, below = CLASS_PARTS.sub("", key), key.endswith((".init_args", ".dict_kwargs"))
    return name == key or any(
        other.startswith(f"{short}.") or (other == short and not below)
        for other in (CLASS_PARTS.sub("", name), plain(name))
    )


def keys_of(value: Any, key: str = "") -> Iterator[str]:
    """Every key at which ``changes`` may find one."""
    entries: dict[Any, Any] = {}
    if isinstance(value, dict):
        entries = value
    elif isinstance(value, list) and holds_entries(value):
        entries = dict(enumerate(value))
    for name, inner in entries.items():
        yield from keys_of(inner, f"{key}.{name}" if key else str(name))
    if not entries:
        yield key


def require_known(allowed: Sequence[str], names: Sequence[str]) -> None:
    """Refuse an allowed change that could allow nothing.

    Args:
        allowed: keys as a user types them.
        names: all that there are, as in config.yaml.

    Raises:
        UserError: a key is that of none of them, nor the beginning of one.
    """
    for key in allowed:
        if any(covers(key, name) for name in names):
            continue
        known = sorted({start for name in names for start in accumulate(plain(name).split("."), "{}.{}".format)})
        near = [name for name in known if name.endswith(f".{key}")] or difflib.get_close_matches(plain(key), known, 1)
        hint = f"did you mean {near[0]}?" if near else "give one of config.yaml, or the beginning of one."
        raise UserError(f"--allow-change {key} on the command line is no key of the configuration; {hint}")


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
