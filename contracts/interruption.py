"""The end that a signal asks for."""

import signal


class Interrupted(SystemExit):
    """Raised at a boundary where everything is saved; the process ends with 128 + the signal, as a shell reports it.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)

    def __str__(self) -> str:
        return f"stopped by {self.signal.name}"
