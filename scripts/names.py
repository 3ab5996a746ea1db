"""The names that a user could have meant: arguments of a class, classes of a package."""

import ast
import importlib
import inspect
import sys
from pathlib import Path

PACKAGES = (
    "finelab.models",
    "finelab.models.adapters",
    "finelab.models.regularizers",
    "finelab.data",
    "finelab.callbacks",
)
LINKED = {"seeds", "labels", "seed"}
"""Filled from other keys, never written by a user."""


def argument_names(class_path: str) -> list[str]:
    """Every argument of a class that has been imported, those behind ``**kwargs`` of its bases included."""
    module, _, name = class_path.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    names: set[str] = set()
    for base in inspect.getmro(cls) if inspect.isclass(cls) else (cls,):
        parameters = inspect.signature(base.__init__ if inspect.isclass(base) else base).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return sorted(names - LINKED - {"self", "params"})


def class_paths(package: str) -> list[str]:
    """The classes that an imported package names, those found by file name included, without importing more."""
    module = sys.modules.get(package)
    if module is None:
        return []
    names = {name for name, value in vars(module).items() if inspect.isclass(value)}
    if package in PACKAGES:
        for folder in map(Path, module.__path__):
            inner = [file for file in folder.glob("*/*.py") if f"{package}.{file.parent.name}" not in PACKAGES]
            for file in [*folder.glob("*.py"), *inner]:
                names |= {
                    node.name
                    for node in ast.parse(file.read_text(encoding="utf-8")).body
                    if isinstance(node, ast.ClassDef) and node.name.lower() == file.stem.replace("_", "")
                }
    return sorted(f"{package}.{name}" for name in names if not name.startswith("_"))


def known_class_paths(package: str) -> list[str]:
    """Classes of the package that was written, and of ours."""
    for name in PACKAGES:
        importlib.import_module(name)
    return [path for name in dict.fromkeys((package, *PACKAGES)) for path in class_paths(name)]
