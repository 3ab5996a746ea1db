"""How a controller takes its time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """Seconds of this and that.

    Args:
        shortest: between two looks at the engine, while something happens.
        longest: between two looks, after a while in which nothing did.
        held: between two looks at a cell that some other process works on.
        backoff: before the second attempt of a cell; twice as long before each further one.
        most_backoff: that this grows to.
        grace: between SIGTERM and SIGKILL, in which a run finishes its step and saves.
    """

    shortest: float = 0.005
    longest: float = 0.1
    held: float = 0.5
    backoff: float = 1.0
    most_backoff: float = 60.0
    grace: float = 120.0

    def wait(self, failures: int) -> float:
        """Before the attempt that follows so many failures."""
        return min(self.most_backoff, self.backoff * 2 ** (failures - 1))
