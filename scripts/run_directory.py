"""Where a run of several processes lies."""

import os
from pathlib import Path

from ..contracts.errors import UserError

RUN_DIRECTORY = "FINELAB_RUN_DIRECTORY"
"""Set for the processes that Lightning starts for the other ranks, so that all share the first one's directory."""


def shared_directory(root: str, name: str | None) -> Path | None:
    """The directory that another rank has made for this run; None in the process that makes it.

    Raises:
        UserError: the ranks were not started by Lightning and the run has no name that they could share.
    """
    if "LOCAL_RANK" in os.environ and RUN_DIRECTORY in os.environ:
        return Path(os.environ[RUN_DIRECTORY])
    if is_first_rank():
        return None
    if name is None:
        raise UserError(
            "run.name is missing: processes that a launcher such as torchrun or srun has started cannot agree on a "
            "default name. Give one with --run.name."
        )
    return Path(root).expanduser() / name


def is_first_rank() -> bool:
    """Whether this process answers for the run's directory: alone, or the first of all that were launched."""
    # torchrun's, Slurm's, Lightning's own: the first that is set counts for all nodes.
    ranks = [os.environ[key] for key in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if key in os.environ]
    return not ranks or int(ranks[0]) == 0
