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
        folders: its folders (``__path__``). Its sub-packages are looked through as well, but for those that export
            their classes themselves, so that a class has one short path.
    """
    modules: dict[str, str] = {}
    for folder in map(Path, folders):
        for file in sorted(folder.glob("*.py")) + sorted(folder.glob("*/*.py")):
            if file.stem != "__init__" and file.parent.name != "__pycache__":
                parent = package if file.parent == folder else f"{package}.{file.parent.name}"
                modules.setdefault(file.stem.replace("_", ""), f"{parent}.{file.stem}")

    def find(name: str) -> Any:
        path = modules.get(name.lower()) if name[:1].isupper() else None
        parent = path.rpartition(".")[0] if path else package
        elsewhere = parent != package and "__getattr__" in vars(importlib.import_module(parent))
        module = importlib.import_module(path) if path and not elsewhere else None
        if module is None or name not in vars(module):  # the file of RDrop is also that of Rdrop, which is no class
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(module, name)

    return find
