"""What has happened in a study, one JSON object a line, never changed."""

import json
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Event = dict[str, Any]
"""``time`` (UTC, ISO 8601), ``event`` and whatever belongs to it; ``cell`` where it is one's."""


class EventLog:
    """An append-only file. A line that was torn by a power cut or a full disk is passed over.

    Args:
        path: of the file; it is made with the first event.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, events: Iterable[Event]) -> None:
        """Write all of them and flush them to the disk.

        Raises:
            OSError: e.g. the disk is full; then a part of them may stand there.
        """
        lines = "".join(json.dumps(event, ensure_ascii=False, default=str) + "\n" for event in events).encode()
        if not lines:
            return
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                lines = b"\n" + lines
            left = memoryview(lines)
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def read(self) -> Iterator[Event]:
        """All that are whole, in order."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return
        for line in text.split(b"\n"):
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                yield event


def event(kind: str, **content: Any) -> Event:
    """One that happens now."""
    return {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": kind, **content}


def seconds_of(happened: Event) -> float:
    """Since 1970; 0 of one without a time."""
    try:
        return datetime.fromisoformat(happened["time"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0
