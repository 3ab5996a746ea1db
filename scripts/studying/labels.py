"""What a cell is called on a terminal."""

from ...contracts.seeds import Seeds
from ...studies.entry import Entry
from ...studies.study import Study


def label(entry: Entry, study: Study) -> str:
    """Arm, task and what it is run for, e.g. ``lora + rdrop, seed 3`` or ``lora, trial 2, seed 901``."""
    arm = entry.arm if entry.task is None else f"{entry.task}: {entry.arm}"
    return f"{arm}, {place(entry, study)}"


def place(entry: Entry, study: Study) -> str:
    """Within its arm."""
    if entry.stage == "tune" and study.tune is not None:
        return f"trial {entry.trial}, {seed_of(study.tune.seeds, entry.replicate)}"
    if entry.stage == "confirm" and study.confirm is not None:
        return f"confirmation, {seed_of(study.confirm.seeds, entry.replicate)}"
    if entry.stage == "noise":
        return f"noise, again {entry.repeat}" if entry.repeat else f"noise, other seeds {entry.replicate + 1}"
    return seed_of(study.replicates, entry.replicate)


def seed_of(replicates: tuple[Seeds, ...], position: int) -> str:
    if position >= len(replicates):  # of an earlier version of the study file
        return f"replicate {position + 1}"
    found = replicates[position]
    same = found.data == found.init == found.train
    return f"seed {found.data}" if same else f"seeds {found.data}/{found.init}/{found.train}"
