"""How every engine starts a cell's child."""

import sys

from .engine import Job

FINELAB = (sys.executable, "-P", "-m", "finelab.scripts")
"""-P: a folder called ray or datasets where the study was started is no package of the child's."""


def cell_command(job: Job) -> list[str]:
    """The words of the child process; its output belongs into the cell's ``log.txt``."""
    return [*FINELAB, "cell", str(job.folder), *(word for name in job.trusted for word in ("--trust-module", name))]
