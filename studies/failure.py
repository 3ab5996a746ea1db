"""Why a cell has no result, and whether another attempt may help."""

import re
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Literal

from ..contracts.record import Record
from .engines.engine import JobState
from .study import Limits

Kind = Literal["infrastructure", "memory", "disk", "nonfinite", "data", "error", "refused", "timeout"]
"""``infrastructure``: nobody's code: killed, lost, interrupted. ``memory`` ran out, the ``disk`` is full, a loss was
``nonfinite``, a row of the ``data`` cannot be used, an ``error`` in somebody's code, a configuration that was
``refused`` before training, a ``timeout``."""
SUSPENDED = "disk"
"""Ends no cell, but pauses the study: every other cell would meet the same."""
FULL = re.compile(r"No space left on device|Disk quota exceeded|database or disk is full|ENOSPC|EDQUOT")
REFUSED = 2
HELD = 75
"""Of ``finelab cell`` where some other process works on the cell: sysexits.h's "try again later"."""
STOPPED = range(129, 160)
"""128 + a signal, as a shell reports it and as ``finelab`` ends after it had saved."""
TAIL = 20_000
LONGEST = 1_000


@dataclass(frozen=True)
class Failure:
    """The end of an attempt that left no result.

    Args:
        kind: its class.
        message: one paragraph.
    """

    kind: Kind
    message: str

    def attempts_left(self, before: int, limits: Limits) -> int:
        """How often it may be tried again.

        Args:
            before: failures of this kind before this one.
            limits: of the study.
        """
        allowed = {"infrastructure": limits.retries, "memory": limits.memory_retries}.get(self.kind, 0)
        return max(0, allowed - before)


def failure_of(record: Record | None, state: JobState, said: str, timeout: float | None = None) -> Failure:
    """What an attempt without a result was.

    Args:
        record: that this attempt has written; None where it has written none.
        state: how the engine saw it end.
        said: the end of what it printed.
        timeout: seconds after which it was stopped; None where it was not.
    """
    if record is not None and record.status.startswith("failed: "):
        kind: Kind = record.status.removeprefix("failed: ")  # pyright: ignore[reportAssignmentType]
        return Failure(kind, shortened((record.error or {}).get("message", "")) or record.status)
    if timeout is not None:
        return Failure("timeout", f"It was stopped after {timeout:g} s, which is limits.timeout.")
    if FULL.search(said):
        return Failure("disk", last_words(said))
    if record is not None and record.status == "finished":
        return Failure(
            "error",
            f"Its record says finished, but of another configuration or other seeds ({record.config_digest}, "
            f"{record.seeds}), so that it is no result of this cell.",
        )
    if state.phase == "lost":
        return Failure("infrastructure", shortened(state.reason) or "The engine lost it.")
    return _of_code(state.code, said)


def _of_code(code: int | None, said: str) -> Failure:
    if code is None:
        return Failure("infrastructure", "It ended without a record, and nobody saw how.")
    if code < 0:
        oom = ", as the system does where memory runs out" if code == -9 else ""
        return Failure("infrastructure", f"It was killed by {_signal(-code)}{oom}.")
    if code in STOPPED:
        return Failure("infrastructure", f"It was stopped by {_signal(code - 128)}.")
    if code == HELD:
        return Failure("infrastructure", "Another process had the cell at that moment.")
    if code == REFUSED:
        return Failure("refused", last_words(said) or "It was refused before training and did not say why.")
    if code == 0:
        return Failure("error", "It ended as if all were well, but left no valid record that says finished.")
    return Failure("error", last_words(said) or f"It ended with exit status {code} and said nothing.")


def last_words(said: str) -> str:
    """The paragraph of ``finelab:`` that ended it, or else the last line, as of a traceback."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    own = [line.removeprefix("finelab: ") for line in lines if line.startswith("finelab: ")]
    return shortened(own[-1] if own else lines[-1] if lines else "")


def tail(log: Path, since: int) -> str:
    """The end of what an attempt has printed.

    Args:
        log: of the cell; it need not exist.
        since: its size before the attempt.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(min(since, size), size - TAIL))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def shortened(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 3]}..."


def _signal(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
