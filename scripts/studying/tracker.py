"""Where a running study stands: what is due by its plan, and what its rows say."""

import time
from collections.abc import Collection, Mapping

from ...contracts.record import Record
from ...studies.durations import seconds_left, seconds_of
from ...studies.entry import Entry
from ...studies.plan import Plan
from ...studies.stages import Due, due
from .board import Board


class Tracker:
    """Asks what is due and keeps the answer for whoever shows it.

    Args:
        plan: of the study.
        slots: cells at a time.
    """

    def __init__(self, plan: Plan, slots: int) -> None:
        self.plan, self.slots = plan, slots
        self.last = due(plan, {})

    def due(self, finished: Mapping[str, Record], failed: Collection[str]) -> Due:
        """As a controller asks it."""
        self.last = due(self.plan, finished, failed)
        return self.last

    def board(self, entries: Mapping[str, Entry]) -> Board:
        """This moment."""
        ours = [entries[cell.id] for cell in self.last.planned if cell.id in entries]
        seconds = seconds_of(self.plan, ours)
        return Board(
            study=self.plan.study,
            planned=self.last.planned,
            entries=entries,
            later=self.last.later,
            waits=self.last.waits,
            blocked=self.last.blocked,
            left=self._left(entries, seconds),
            seconds=seconds,
        )

    def _left(self, entries: Mapping[str, Entry], seconds: Mapping[tuple[str, str | None], float]) -> float | None:
        left = seconds_left(self.last.cells, entries, seconds, self.slots, time.time())
        if left is None or not self.last.later:
            return left
        return left + self.last.later * sum(seconds.values()) / len(seconds) / self.slots
