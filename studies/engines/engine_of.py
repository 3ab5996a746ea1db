"""The engine that a study file names."""

import difflib
import importlib
import inspect
from collections.abc import Mapping

from ...contracts.errors import UserError
from ..study import EngineSpec
from .engine import Engine

CLASSES: Mapping[str, tuple[str, str]] = {"local": ("local", "Local")}
"""Name -> module beside this one, and the class in it; only the one that is wanted is imported."""
NO_OPTIONS = ("self", "launcher")


def engine_of(spec: EngineSpec) -> Engine:
    """Make it; nothing is started before it is opened.

    Raises:
        UserError: an option is unknown or of a wrong value.
    """
    module, name = CLASSES[spec.name]
    made = getattr(importlib.import_module(f".{module}", __package__), name)
    known = [option for option in inspect.signature(made.__init__).parameters if option not in NO_OPTIONS]
    for option in spec.options:
        if option not in known:
            near = difflib.get_close_matches(option, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}."
            raise UserError(f"engine.{option} is no option of the engine {spec.name}; {hint}")
    return made(**spec.options)
