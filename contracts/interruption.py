"""The end that a signal asks for."""

import os
import signal
import threading


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


def leave_signals_to_the_parent(worker: int) -> None:
    """For a loader's process, as its ``worker_init_fn``: it lives until its parent ends it.

    Ctrl-C, and a scheduler that ends a job, reach the whole group of processes. A worker that died of it would end the
    run before its state is saved.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.name == "posix":
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        if "sigwaitinfo" in vars(signal):  # not on macOS
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Thread(target=_obey_the_parent, daemon=True).start()


def _obey_the_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)  # as torch's own handler does; another code would be reported as a failure of the loader
