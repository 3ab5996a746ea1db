"""The card's commands, as this shell can run them from where it is."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from ..contracts.run import Run
from .card_facts import NAMES


def commands(run: Run) -> list[RenderableType]:
    where = shlex.quote(shorter(run.directory))
    commands = {
        "run": where,
        "watch": f"{program('tensorboard')} --logdir {where}",
        "test": f"{program('finelab')} test --run {where}",
        "predict": f"{program('finelab')} predict --run {where} --input INPUT.jsonl --output OUTPUT.jsonl",
    }
    # Never broken by us: a command that the terminal wraps can still be copied in one piece.
    return [
        Text.assemble(
            "  ",
            (f"{name:{NAMES + 2}}", "dim"),
            (command, "" if name == "run" else "cyan"),
            no_wrap=True,
            overflow="ignore",
        )
        for name, command in commands.items()
    ]


def program(name: str) -> str:
    """How this shell can call a program of this environment, which need not be activated."""
    beside = Path(sys.executable).with_name(name)
    return name if shutil.which(name) or not beside.exists() else shlex.quote(shorter(beside))


def shorter(path: Path) -> str:
    """Relative to the current folder where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
