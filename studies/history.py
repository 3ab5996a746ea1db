"""What the event log says of one cell."""

from collections import Counter
from dataclasses import dataclass, field

from .event_log import Event, seconds_of

START, RUNNING, DONE, FAILED, AGAIN, INTERRUPTED, LOST, RETRY = (
    "start",
    "running",
    "done",
    "failed",
    "again",
    "interrupted",
    "lost",
    "retry",
)
"""An attempt begins; it runs on another host; it left a result; it failed for good; it failed and is tried again; it
was stopped, which is no failure; a result is no longer there; the user asks for another attempt."""
ENDS = (DONE, FAILED, AGAIN, INTERRUPTED)


@dataclass
class History:
    """One cell's events, added up.

    Args:
        last: kind of the last event, empty where there was none.
        attempts: begun.
        failures: kind -> how often, since the user last asked for a retry; without attempts that got further than the
            one before.
        reason: kind of the last failure.
        message: of the last failure.
        host: of the last attempt.
        started: of the last attempt, seconds since 1970.
        ended: likewise.
        seconds: of all attempts whose end was seen.
        record: mark of the record that lay there when the last attempt began.
        state: name of the newest training state then.
        log: size of the log then.
    """

    last: str = ""
    attempts: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    reason: str = ""
    message: str = ""
    host: str = ""
    started: float | None = None
    ended: float | None = None
    seconds: float = 0.0
    record: str | None = None
    state: str | None = None
    log: int = 0

    def add(self, event: Event) -> None:
        """One more event of this cell."""
        kind = event["event"]
        self.host = str(event.get("host") or self.host)
        if kind == RUNNING:
            return
        self.last = kind
        if kind == START:
            self.attempts += 1
            self.started, self.ended = seconds_of(event), None
            self.record, self.state, self.log = event.get("record"), event.get("state"), int(event.get("log", 0))
        elif kind in ENDS:
            self.ended = seconds_of(event)
            self.seconds += float(event.get("seconds") or 0.0)
        if kind in (FAILED, AGAIN) and not event.get("progress"):
            self.failures[event.get("reason", "error")] += 1
        elif kind == RETRY:
            self.failures.clear()
        if kind != START:
            self.reason, self.message = str(event.get("reason", "")), str(event.get("message", ""))
