"""How running a study ended."""

from dataclasses import dataclass

from .entry import Entry

STOPPED = 128
"""A shell's exit status is this and the signal."""


@dataclass(frozen=True)
class Outcome:
    """What a controller leaves.

    Args:
        complete: every planned cell is done.
        ran: cells that were finished now.
        failed: rows of the cells that are due and have failed.
        signal: that stopped it; None where none did.
        paused: why it went no further, one paragraph; empty where it did not pause.
    """

    complete: bool
    ran: int
    failed: tuple[Entry, ...]
    signal: int | None = None
    paused: str = ""

    @property
    def exit_code(self) -> int:
        if self.signal is not None:
            return STOPPED + self.signal
        return 0 if self.complete else 1
