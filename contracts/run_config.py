"""``config.yaml`` of a run: comments that say how it came about, then the resolved configuration.

The comments are the run's memory across resumes: they outlive a process that is killed before it writes a record.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .files import write_atomically
from .inert import printable

CONFIG_FILE = "config.yaml"
CHANGED = re.compile(r"# changed at step (\d+): (([\w.]+): .*)")


@dataclass(frozen=True)
class RunConfig:
    """What stands in the file.

    Args:
        head: the comment lines, the command that made the run first.
        content: the resolved configuration.
    """

    head: tuple[str, ...]
    content: dict[str, Any]

    @property
    def command(self) -> tuple[str, ...]:
        """That made the run."""
        return tuple(shlex.split(self.head[0].removeprefix("#"))) if self.head else ()

    @classmethod
    def read(cls, directory: Path) -> "RunConfig":
        text = (directory / CONFIG_FILE).read_text(encoding="utf-8")
        head = []
        for line in text.splitlines():
            if not line.startswith("#"):
                break
            head.append(line)
        return cls(tuple(head), yaml.safe_load(text))

    @classmethod
    def of_new_run(cls, command: tuple[str, ...], content: dict[str, Any]) -> "RunConfig":
        return cls((f"# {one_line(command)}",), content)

    def resumed(
        self, step: int, command: tuple[str, ...], changed: Sequence[str], content: dict[str, Any]
    ) -> "RunConfig":
        """The same run, going on.

        Args:
            step: optimizer steps that it had made.
            command: the one that goes on.
            changed: lines ``key: before -> after`` that the user has allowed.
            content: the configuration with these changes.
        """
        said = f"# resumed at step {step}: {one_line(command)}"
        return RunConfig((*self.head, said), content).branched(step, changed)

    def branched(self, step: int, changed: Sequence[str]) -> "RunConfig":
        """A run that goes on from a training state of that step with these changes."""
        return RunConfig(
            (*self.head, *(f"# changed at step {step}: {printable(line)}" for line in changed)), self.content
        )

    def allowed_since(self, step: int) -> list[str]:
        """Keys whose change was allowed on a resume from that step or later: the state does not know of them yet."""
        found = (CHANGED.fullmatch(line) for line in self.head)
        return [match[3] for match in found if match and int(match[1]) >= step]

    def notes(self) -> list[str]:
        """What a reader of the record has to know: every change that was allowed."""
        found = (CHANGED.fullmatch(line) for line in self.head)
        return [f"Changed at step {match[1]}: {match[2]}." for match in found if match]

    def write(self, directory: Path) -> None:
        text = "".join(f"{line}\n" for line in self.head) + yaml.safe_dump(self.content, sort_keys=False)
        write_atomically(directory / CONFIG_FILE, text)


def one_line(command: Sequence[str]) -> str:
    """A command as a shell takes it, in one printable line, so that it can stand in a comment."""
    return printable(shlex.join(command))


def config_digest(config: dict[str, Any]) -> str:
    """Of everything but the run's name and place, which change no number."""
    content = {key: value for key, value in config.items() if key != "run"}
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
