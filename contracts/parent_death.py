"""A child process that does not outlive the one that started it, however that one ends."""

import ctypes
import os
import signal
import sys

PARENT = "FINELAB_PARENT"
"""Number of the process that started this one and without which it is not to live on."""
PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """To be called first thing in a child that has ``FINELAB_PARENT`` in its environment; otherwise nothing is done.

    The kernel sends SIGKILL when the thread that started this process ends (prctl(2), Linux only). A parent that was
    gone before the kernel had been asked is noticed by its number.
    """
    parent = os.environ.get(PARENT)
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        os.kill(os.getpid(), signal.SIGKILL)
