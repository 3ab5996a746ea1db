"""What a node of a cluster has to be like, so that a cell there gives what it gives here."""

import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("finelab", "torch", "transformers", "peft", "lightning")


@dataclass(frozen=True)
class Seen:
    """What a process of a node sees.

    Args:
        host: its name.
        marker: content of a file that was written where the study's results go; None where there is no such file.
        cwd: whether the folder of the controller is there.
        versions: of Python and of the packages that decide a run's numbers.
    """

    host: str
    marker: str | None
    cwd: bool
    versions: dict[str, str]


def look(marker: str, cwd: str) -> Seen:
    """On a node.

    Args:
        marker: path of the file.
        cwd: folder of the controller.
    """
    import socket

    path = Path(marker)
    found = path.read_text() if path.is_file() else None
    return Seen(socket.gethostname(), found, Path(cwd).is_dir(), versions())


def versions() -> dict[str, str]:
    """Of Python and of the packages; ``missing`` where one is not installed."""
    found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def complaint(seen: Seen, here: Seen) -> str | None:
    """Why cells cannot be run on a node; None where they can.

    Args:
        seen: by the node.
        here: by the controller.
    """
    if seen.marker != here.marker:
        return "it does not see the folder of the results, which has to lie on a file system that all nodes share"
    if not seen.cwd:
        return "the folder where the study was started is not there, and relative paths start from it"
    other = [
        f"{name} {seen.versions[name]} instead of {said}"
        for name, said in here.versions.items()
        if seen.versions[name] != said
    ]
    return f"it has {', '.join(other)}, which would give other numbers" if other else None
