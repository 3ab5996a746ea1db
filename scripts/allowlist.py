"""Which import paths a configuration may name: naming a class is running its code."""

import sys
from pathlib import Path

from ..contracts.errors import UserError

ALLOWED = (
    "finelab",
    "peft",
    "torch.optim",
    "torchmetrics",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "lightning.pytorch.plugins",
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
)


def is_allowed(path: str, trusted: tuple[str, ...] = ()) -> bool:
    """Whether a dotted path lies in one of the allowed packages. Short names without a dot are looked up later."""
    return "." not in path or any(path == name or path.startswith(f"{name}.") for name in (*ALLOWED, *trusted))


def refusal(path: str) -> str:
    """The end of the paragraph about a path that is not allowed."""
    package = path.partition(".")[0]
    return (
        f"A configuration may name classes from {', '.join(ALLOWED)} only, since naming a class runs its code; "
        f"{path!r} was not imported. If you trust that package, add --trust-module {package}."
    )


def enforce(trusted: tuple[str, ...]) -> None:
    """Put the list into force for every parser of this process, before any parser is built.

    A trusted package may lie in the current folder, which a console script does not have on its path. It comes last, so
    that no file there takes the place of an installed package.

    Raises:
        UserError: a trusted name is no module path.
    """
    from jsonargparse import set_parsing_settings

    try:
        set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=[*ALLOWED, *trusted])
    except ValueError as error:
        raise UserError(
            f"--trust-module takes the name of a Python package, got {', '.join(trusted)}: {error}"
        ) from error
    if trusted and not {"", str(Path.cwd())} & set(sys.path):
        sys.path.append(str(Path.cwd()))
