"""What kind of end an exception is, and what the user can do about it."""

import errno
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch.utilities.exceptions import SIGTERMException
from safetensors import SafetensorError

from ..contracts.disk import NO_RIGHT, NO_SPACE, DiskError, errno_in, free_space
from ..contracts.errors import UserError
from ..contracts.interruption import Interrupted
from ..contracts.record import Status
from ..models.non_finite_error import NonFiniteError
from .event_files import event_sizes
from .out_of_memory import advice, is_out_of_memory

FULL = {*NO_SPACE, errno.EFBIG}
UNWRITABLE = {*NO_RIGHT, errno.EIO}
EVENTS = ("tensorboard.", "torch.utils.tensorboard")
READING = ("torch.utils.data.", "finelab.data.", "datasets.")
KILLED = "DataLoader worker"
DATA_HOOK = "_call_lightning_datamodule_hook"


@dataclass(frozen=True)
class Failure:
    """One class of end, with a status of its own in the record.

    Args:
        status: as the record says it.
        message: what the exception says, and for what the user can put right, how.
    """

    status: Status
    message: str

    @classmethod
    def of(cls, exception: BaseException, run: Path, config: dict[str, Any]) -> "Failure":
        """Args:
        exception: what ended the run.
        run: its directory.
        config: the resolved configuration, whose keys the advice names.
        """
        said = " ".join(str(exception).split()) or type(exception).__name__
        if isinstance(exception, Interrupted | KeyboardInterrupt | SIGTERMException):
            return cls("interrupted", said)
        if isinstance(exception, NonFiniteError):
            return cls("failed: nonfinite", said)
        causes = list(chain(exception))
        if any(is_out_of_memory(cause) for cause in causes):
            return cls("failed: memory", f"{advice(list(frames(exception)), config)} ({said})")
        for cause in causes:
            if is_of_the_disk(cause, run):
                return cls("failed: disk", said if isinstance(exception, UserError) else on_disk(cause, run))
        if any(is_reading(frame) for cause in causes for frame in frames(cause)):
            return cls("failed: data", said if isinstance(exception, UserError) else unreadable(exception, said))
        return cls("failed: error", str(exception) or said)


def chain(exception: BaseException) -> Iterator[BaseException]:
    """The exception and those that caused it, as a traceback would show them."""
    seen: set[int] = set()
    following: BaseException | None = exception
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def frames(exception: BaseException) -> Iterator[FrameType]:
    """Innermost first."""
    yield from reversed([frame for frame, _ in traceback.walk_tb(exception.__traceback__)])


def is_reading(frame: FrameType) -> bool:
    """Of a loader, a data module, or what they read with."""
    return frame.f_globals.get("__name__", "").startswith(READING) or frame.f_code.co_name == DATA_HOOK


def is_of_the_disk(error: BaseException, run: Path) -> bool:
    """No room, or no right to write; whatever is wrong with a file of the run itself."""
    code = code_of(error)
    if code in FULL or isinstance(error, DiskError):
        return True
    named = isinstance(error, OSError) and isinstance(error.filename, str) and Path(error.filename)
    if named and named.is_absolute() and named.is_relative_to(run.absolute()):
        return True
    return code in UNWRITABLE and not any(is_reading(frame) for frame in frames(error))


def code_of(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    return errno_in(str(error)) if isinstance(error, SafetensorError) else None


def on_disk(error: BaseException, run: Path) -> str:
    where = file_of(error, run)
    size = f" (it holds {where.stat().st_size:,} bytes)" if where.is_file() else ""
    return (
        f"{where} could not be written{size}: {' '.join(str(error).split())}, and {free_space(where)}. What was saved "
        "before is as it was. Make room or give the right to write there."
    )


def file_of(error: BaseException, run: Path) -> Path:
    """The file that the error names; of TensorBoard's, which come without, the event file; else the run."""
    if isinstance(error, OSError) and isinstance(error.filename, str):
        return Path(error.filename)
    modules = [frame.f_globals.get("__name__", "") for frame in frames(error)]
    events = list(event_sizes(run)) if any(name.startswith(EVENTS) for name in modules) else []
    return run / events[-1] if events else run


def unreadable(error: BaseException, said: str) -> str:
    cure = "Mend it."
    if KILLED in said:
        cure = "Its process was killed, by the system if memory ran out: lower data.init_args.loader.num_workers."
    elif isinstance(error, OSError):
        cure = "Put it back; where only the tokens under data.init_args.cache_dir are damaged, remove them."
    return (
        f"The data could not be read: {type(error).__name__}: {said.rstrip('.')}. What was saved before is as it was. "
        f"{cure}"
    )
