"""Starts the one child process that resolves all configurations of a study."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..contracts.errors import UserError
from ..contracts.parent_death import PARENT
from .plain_values import typed
from .resolution import Resolution, Resolved, Variant
from .study import Study

COMMAND = (sys.executable, "-P", "-m", "finelab.scripts", "resolve")
MOST_SHOWN = 12


@dataclass(frozen=True)
class Request:
    """What the child is asked.

    Args:
        base: the configuration that every variant starts from.
        study: the study file, for errors.
        variants: what is to be resolved.
        measure: names of those whose training steps are to be measured.
        trusted: packages that the configurations may name beside the allowed ones.
    """

    base: Path
    study: Path
    variants: tuple[Variant, ...]
    measure: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"base": str(self.base), "study": str(self.study)}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Request":
        variants = (
            Variant(each["name"], tuple((where, overrides) for where, overrides in each["overrides"]))
            for each in plain["variants"]
        )
        return cls(
            base=Path(plain["base"]),
            study=Path(plain["study"]),
            variants=tuple(variants),
            measure=tuple(plain["measure"]),
            trusted=tuple(plain["trusted"]),
        )


def resolve(study: Study, variants: Sequence[Variant], measure: Sequence[str] = ()) -> Resolution:
    """All configurations of a study, resolved and built by one child (about 8 s for its imports, 0.5 s a variant).

    Relative paths inside of the base configuration are relative to the current folder, as in ``finelab fit``.

    Args:
        study: what is to run.
        variants: what is to be resolved.
        measure: names of variants whose training steps are to be measured.

    Raises:
        UserError: all that is wrong with any of them, each with its place in the study file.
    """
    request = Request(study.base, study.file, tuple(variants), tuple(measure), study.trusted)
    answer = _ask(request)
    if answer["errors"]:
        raise UserError(_told(answer["errors"], len(request.variants)))
    return Resolution(
        {name: resolved_of(plain) for name, plain in answer["variants"].items()}, answer["versions"], answer["code"]
    )


def resolved_of(plain: dict[str, Any]) -> Resolved:
    """From what ``asdict`` gave."""
    return typed(Resolved, plain)


def _ask(request: Request) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="finelab-resolve-") as scratch:
        question, response = Path(scratch, "request.json"), Path(scratch, "response.json")
        question.write_text(json.dumps(request.as_dict()), encoding="utf-8")
        child = subprocess.run(
            [*COMMAND, str(question), str(response)],
            env={**os.environ, PARENT: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if not response.is_file():
            last = "\n".join(f"    {line}" for line in child.stderr.splitlines()[-MOST_SHOWN:])
            raise UserError(
                f"The configurations of {request.study} could not be resolved: finelab resolve ended with exit code "
                f"{child.returncode} and no answer. It said last:\n{last}"
            )
        return json.loads(response.read_text(encoding="utf-8"))


def _told(errors: Sequence[tuple[str, list[str]]], variants: int) -> str:
    """All of them; where the same is wrong with several arms it is said once."""
    said = []
    for message, names in errors[:MOST_SHOWN]:
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        of = f" [arm {names[0]}{more}]" if names and len(names) < variants else ""
        said.append(f"{message}{of}")
    if len(errors) > MOST_SHOWN:
        said.append(f"{len(errors) - MOST_SHOWN} more of the kind.")
    return "\n".join(said)
