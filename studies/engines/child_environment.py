"""The environment of a cell's child."""

import os

LAUNCHERS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
"""Set by torchrun and the like for the ranks of one run, which a cell is none of."""
OF_A_RUN = ("MASTER_PORT", "FINELAB_RUN_DIRECTORY")


def child_environment(threads: int, devices: str | None) -> dict[str, str]:
    """That of this process, without what would make the child a rank of something else.

    Args:
        threads: of each library that computes.
        devices: CUDA devices that it sees, comma-separated, empty for none; None leaves that as it is.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in (*LAUNCHERS, *OF_A_RUN) and not name.startswith("SLURM_")
    }
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    seen = {} if devices is None else {"CUDA_VISIBLE_DEVICES": devices}
    return {**kept, **counts, **seen, "TOKENIZERS_PARALLELISM": "false"}
