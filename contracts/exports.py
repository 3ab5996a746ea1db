"""A package's classes by their short path, found by file name: adding a class is adding a file."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def exports_by_file_name(package: str, *folders: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package whose files are named after their one public class.

    ``RDrop`` is found in ``rdrop.py`` and ``LinearProbe`` in ``linear_probe.py``, imported when first asked for, so
    that no list has to be kept and nothing heavy is imported early.

    Args:
        package: the package's ``__name__``.
        folders: its folders (``__path__``); sub-packages named after a class's file are looked through as well.
    """
    modules: dict[str, str] = {}
    for folder in map(Path, folders):
        for file in sorted(folder.glob("*.py")) + sorted(folder.glob("*/*.py")):
            if file.stem != "__init__" and file.parent.name != "__pycache__":
                parent = package if file.parent == folder else f"{package}.{file.parent.name}"
                modules.setdefault(file.stem.replace("_", ""), f"{parent}.{file.stem}")

    def find(name: str) -> Any:
        path = modules.get(name.lower()) if name[:1].isupper() else None
        if path is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(path), name)

    return find
