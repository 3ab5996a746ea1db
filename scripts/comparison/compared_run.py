"""One of the runs that are compared, as its directory has it."""

import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...contracts.errors import UserError
from ...contracts.record import RECORD_FILE, Record, read_record
from ...contracts.run_config import CONFIG_FILE, RunConfig
from ...contracts.run_lock import is_locked
from ..resume import WEIGHTS, near_run

MOST = 20


@dataclass(frozen=True)
class ComparedRun:
    """A run with the letter that stands for it.

    Args:
        letter: A for the first, which the others are compared with.
        directory: as the user wrote it.
        state: the record's status; without a record, why there is none.
        record: None of a run that is going on or was killed.
        config: the resolved configuration; None where it is gone.
        base_digest: of the base's weights, from the checkpoint; None where there is none.
    """

    letter: str
    directory: Path
    state: str
    record: Record | None
    config: dict[str, Any] | None
    base_digest: str | None

    @property
    def name(self) -> str:
        return self.directory.resolve().name


def read_runs(words: Sequence[str]) -> list[ComparedRun]:
    """The runs in the order of the command line.

    Raises:
        UserError: fewer than two, too many, one twice, one that is no run, or a record that is not valid.
    """
    if not 2 <= len(words) <= MOST:
        raise UserError(
            f"compare on the command line takes 2 to {MOST} runs, and {len(words)} are given: finelab compare RUN RUN "
            "..., each a run's directory."
        )
    folders = [Path(word).expanduser() for word in words]
    places = [folder.resolve() for folder in folders]
    for index, place in enumerate(places):
        if place in places[:index]:
            raise UserError(f"{words[index]} is named twice on the command line; name every run once.")
    return [_read(letter, folder) for letter, folder in zip(string.ascii_uppercase, folders, strict=False)]


def _read(letter: str, folder: Path) -> ComparedRun:
    has_record, has_config = (folder / RECORD_FILE).is_file(), (folder / CONFIG_FILE).is_file()
    if not has_record and not has_config:
        what = f"has neither {RECORD_FILE} nor {CONFIG_FILE}" if folder.is_dir() else "does not exist"
        raise UserError(f"{folder} on the command line is no run: it {what}; {near_run(folder)}")
    record = read_record(folder) if has_record else None
    if record is not None:
        state: str = record.status
    else:
        state = "still training" if is_locked(folder) else "stopped without a record"
    config = _config(folder) if has_config else None
    return ComparedRun(letter, folder, state, record, config, _base_digest(folder))


def _config(folder: Path) -> dict[str, Any]:
    try:
        content = RunConfig.read(folder).content
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{folder / CONFIG_FILE} cannot be read as YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(content, dict):
        raise UserError(f"{folder / CONFIG_FILE} holds no configuration; a run's is a mapping of keys.")
    return content


def _base_digest(folder: Path) -> str | None:
    """What the kept weights say of the base they belong to."""
    try:
        manifest = json.loads((folder / WEIGHTS / "finelab.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest.get("base_digest") if isinstance(manifest, dict) else None
