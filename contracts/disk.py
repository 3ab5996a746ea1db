"""What the disk refuses, in words."""

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from .errors import UserError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)


class DiskError(UserError):
    """Something of a run could not be written; what stood there before is as it was."""


@contextmanager
def disk_faults(path: Path, needed: int) -> Iterator[None]:
    """Turn what goes wrong on the disk inside into a paragraph.

    Args:
        path: what is being written.
        needed: bytes that it takes.

    Raises:
        DiskError: no space, no right, or a fault of the device; names the path and the bytes.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = error.errno if isinstance(error, OSError) else errno_in(str(error))
        if number in NO_SPACE:
            cure = "Free that much there, or raise the quota"
        elif number in NO_RIGHT:
            cure = "Make that folder writable"
        else:
            cure = "See to the disk or its connection"
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
        kind = errno.errorcode.get(number or 0, type(error).__name__)
        raise DiskError(
            f"{path} could not be written: {reason} ({kind}). It needs {needed:,} bytes, and {free_space(path)}. What "
            f"stood there before is as it was. {cure}; run.root gives another place to a new run."
        ) from error


def errno_in(message: str) -> int | None:
    """The number that a library in Rust writes behind what the system said."""
    found = re.search(r"os error (\d+)", message)
    return int(found[1]) if found else None


def free_space(path: Path) -> str:
    folder = next((parent for parent in path.absolute().parents if parent.is_dir()), Path("/"))
    try:
        return f"the file system of {folder} has {shutil.disk_usage(folder).free:,} free"
    except OSError as error:
        return f"{folder} does not say how many are free ({error.strerror})"
