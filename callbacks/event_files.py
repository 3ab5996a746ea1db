"""TensorBoard's files of a run that goes on: what was written after its training state is taken away."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

PATTERN = "events.out.tfevents.*"


def event_sizes(directory: Path) -> dict[str, int]:
    """Bytes of each event file; whoever writes to them has flushed."""
    return {path.name: path.stat().st_size for path in sorted(directory.glob(PATTERN))}


def cut_back(directory: Path, sizes: Mapping[str, int], among: Collection[str]) -> None:
    """Leave of each event file what it held when ``sizes`` were taken, and nothing of the later ones.

    The points are then written again, each once.

    Args:
        directory: the run's.
        sizes: name -> bytes.
        among: names of the files that nobody writes to any more.
    """
    for path in directory.glob(PATTERN):
        if path.name not in among:
            continue
        if path.name not in sizes or path.is_symlink():  # nothing is cut behind a link
            path.unlink()
        elif path.stat().st_size > sizes[path.name]:
            os.truncate(path, sizes[path.name])
