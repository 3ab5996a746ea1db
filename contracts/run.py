"""One run and its directory: made once, never shared with another run, never overwritten."""

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import UserError
from .seeds import Seeds

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class RunPlace:
    """The ``run`` key of a configuration.

    Args:
        root: folder that holds the runs.
        name: the run's folder in it; by default the config file's stem, the date and the time.
        save_minutes: minutes between two training states, beside those after each validation; null for none. After a
            save of a second or more, both wait for 20 times its duration, so that saves take at most 5 % of the time.
        save_steps: optimizer steps between two training states, whatever they cost; null for none.
    """

    root: str = "runs"
    name: str | None = None
    save_minutes: float | None = 10.0
    save_steps: int | None = None


@dataclass(frozen=True)
class Run:
    """What the callbacks of a run may know about it.

    Args:
        directory: where everything that the run leaves is written; it exists.
        config: the resolved configuration as it stands in config.yaml.
        command: the command line that made it, program first.
        evaluate_test: whether the test split may be read at the end.
        seeds: the replicate.
        resumed_from: the training state from which it goes on: its own, or that of the run it branches off.
        resume_command: the command line that goes on with it in its own directory.
        changed: lines ``key: before -> after`` of the configuration that the user has allowed to differ from that
            state's.
        allowed: keys whose change the user has allowed.
        rehearse: whether the first steps are tried before training.
    """

    directory: Path
    config: dict[str, Any] = field(repr=False)
    command: tuple[str, ...]
    evaluate_test: bool
    seeds: Seeds
    resumed_from: Path | None = None
    rehearse: bool = True
    resume_command: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()

    @property
    def goes_on(self) -> bool:
        """Whether it is resumed in its own directory, where everything up to then lies."""
        return self.resumed_from is not None and self.directory.resolve() in self.resumed_from.resolve().parents


def create_run(root: str | Path, name: str | None, stem: str) -> Path:
    """Make the directory of a new run.

    ``mkdir`` is atomic, so two processes that start in the same second get two directories.

    Args:
        root: folder that holds the runs.
        name: the user's name for the run, or None for ``<stem>-<date>-<time>``.
        stem: what the default name starts with.

    Raises:
        UserError: the name is taken, cannot be a folder name, or the root cannot be written.
    """
    if name is not None and not NAME.fullmatch(name):
        raise UserError(
            f"run.name={name!r} cannot be a run's folder name: use 1 to 64 letters, digits, dots, dashes and "
            "underscores, and start with a letter or digit. The folder that holds the runs is run.root."
        )
    root = Path(root).expanduser()
    try:
        root.mkdir(parents=True, exist_ok=True)
        if name is not None:
            return _create_named(root, name)
        stamped = f"{re.sub('[^A-Za-z0-9._-]+', '-', stem).strip('.-') or 'run'}-{time.strftime('%Y%m%d-%H%M%S')}"
        for attempt in range(1, 10_000):
            directory = root / (stamped if attempt == 1 else f"{stamped}-{attempt}")
            try:
                directory.mkdir()
                return directory
            except FileExistsError:
                continue
    except OSError as error:
        raise UserError(
            f"The run's directory cannot be made under run.root={str(root)!r}: {error.strerror}. Give a folder that "
            "can be written, for example --run.root runs."
        ) from error
    raise UserError(f"{root} already holds thousands of runs named {stamped}; give this one a name with --run.name.")


def _create_named(root: Path, name: str) -> Path:
    try:
        (root / name).mkdir()
    except FileExistsError as error:
        raise UserError(
            f"The run {root / name} exists already and is never overwritten. Give another run.name, leave it out to "
            "get a name with date and time, or remove that folder yourself."
        ) from error
    return root / name
