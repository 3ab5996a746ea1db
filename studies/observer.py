"""Whoever watches a study being run."""

from collections.abc import Mapping

from .entry import Entry


class Observer:
    """Does nothing by itself; a live table, a line a cell or a test overrides what it needs. Called from the thread of
    the controller, which waits for it."""

    def begin(self, entries: Mapping[str, Entry]) -> None:
        """Before anything is started.

        Args:
            entries: id -> row, of all that is known; the same object is kept up to date from then on.
        """

    def changed(self, entry: Entry) -> None:
        """A cell has begun, ended, failed, or is to be tried again."""

    def tick(self) -> None:
        """Some times a second, whether or not anything has changed."""

    def say(self, message: str) -> None:
        """One paragraph for the user, e.g. why the study pauses."""
