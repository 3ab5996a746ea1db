"""From what a study file says to the engine that it asks for."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...contracts.config_file import nearest
from ...contracts.errors import UserError
from ..study import EngineSpec
from .engine import Engine
from .local import Local
from .process_launcher import ProcessLauncher
from .warm_launcher import WarmLauncher

NOT_OPTIONS = ("self", "folder", "launcher")


def engine_of(spec: EngineSpec, folder: Path) -> Engine:
    """The engine, not yet opened. Ray and submitit are imported where they are chosen, and not before.

    Args:
        spec: name and options.
        folder: of the study.

    Raises:
        UserError: an option that the engine has not, or a value that it cannot take.
    """
    if spec.name == "local":
        return local_engine(spec.options)
    if spec.name == "ray":
        from .ray import Ray

        check_names("ray", Ray, spec.options)
        return Ray(folder, **spec.options)
    if spec.name == "slurm":
        from .slurm import Slurm

        check_names("slurm", Slurm, spec.options)
        return Slurm(folder, **spec.options)
    raise UserError(f"engine.name is {spec.name!r}; there are local, ray and slurm.")


def local_engine(options: dict[str, Any]) -> Local:
    """With ``warm: false`` every cell starts an interpreter of its own, else they are forked from one."""
    check_names("local", Local, options, ("warm",))
    warm = options.get("warm", True)
    if not isinstance(warm, bool):
        raise UserError(f"engine.warm is {warm!r}; give true or false.")
    rest = {name: value for name, value in options.items() if name != "warm"}
    return Local(**rest, launcher=WarmLauncher() if warm else ProcessLauncher())


def check_names(engine: str, kind: Callable[..., Any], options: dict[str, Any], more: tuple[str, ...] = ()) -> None:
    """Raises:
    UserError: an option is none of the engine's.
    """
    known = [name for name in inspect.signature(kind).parameters if name not in NOT_OPTIONS] + list(more)
    for name in options:
        if name not in known:
            raise UserError(f"engine.{name} is no option of the engine {engine}; {nearest(name, known)}")
