"""One run of a study: an arm with one replicate."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..contracts.seeds import Seeds

Stage = Literal["tune", "report", "noise", "confirm"]
ID_LENGTH = 16
LONGEST_SLUG = 40


@dataclass(frozen=True)
class Cell:
    """What one child process runs.

    Args:
        id: of its content, see ``identity``.
        arm: name of the arm.
        task: level of the tasks' factor; None where a study has no tasks.
        stage: what it is run for.
        replicate: position of its seed triple in the stage's list.
        trial: of the search; 0 is the arm's default setting.
        repeat: counts runs of one and the same content; 0 but for measurements of the noise floor.
        seeds: the replicate.
        setting: configuration key -> value that the search has set.
        config: the whole resolved configuration, without ``run``.
        config_digest: as the record has to say it.
    """

    id: str
    arm: str
    task: str | None
    stage: Stage
    replicate: int
    trial: int
    repeat: int
    seeds: Seeds
    setting: dict[str, Any]
    config: dict[str, Any]
    config_digest: str

    @property
    def folder_name(self) -> str:
        """Under ``cells/``: readable in TensorBoard's list of runs, and unique by the id at its end."""
        task = "" if self.task is None else f"{self.task}-"
        count = f"t{self.trial}-" if self.stage == "tune" else ""
        again = f"-again{self.repeat}" if self.repeat else ""
        return f"{slug(task + self.arm)}-{self.stage}-{count}{self.replicate}{again}-{self.id}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Cell":
        """From what ``as_dict`` gave."""
        return cls(**{**plain, "seeds": Seeds(**plain["seeds"])})


def identity(content: dict[str, Any]) -> str:
    """Of whatever decides a run's numbers: ``config`` (without what is harmless), ``versions``, ``data`` and ``base``
    digests, ``repeat``. Canonical JSON, so that neither the order of keys nor the place of a file counts."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def slug(text: str) -> str:
    """A part of a folder's name: letters, digits, dots and dashes."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")
    return plain[:LONGEST_SLUG].rstrip("-.") or "arm"
