"""Docstrings of Python files, read from their syntax: nothing is imported or run."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MASK = "module"
"""What stands for a name that would give the answer away."""

SKIPPED_FOLDERS = {"test", "tests", "idle_test", "__pycache__", "site-packages"}

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Docstring:
    """One docstring.

    Args:
        module: dotted name of the module it stands in.
        where: ``file:line``.
        text: as ``inspect.getdoc`` would clean it, with the module's own names masked.
    """

    module: str
    where: str
    text: str


def module_files(root: Path, modules: Iterable[str]) -> dict[str, Path]:
    """Files of some top-level modules and packages, without test suites: dotted name -> file, in a fixed order."""
    found: dict[str, Path] = {}
    for module in sorted(modules):
        package, file = root / module, root / f"{module}.py"
        files = [file] if file.is_file() else sorted(package.rglob("*.py"))
        for file in files:
            parts = file.relative_to(root).with_suffix("").parts
            if not SKIPPED_FOLDERS.intersection(parts):
                found[".".join(parts).removesuffix(".__init__")] = file
    return found


def read_docstrings(module: str, file: Path) -> Iterator[Docstring]:
    """The docstrings of one file, in order of their lines."""
    for node in documented(ast.parse(file.read_bytes(), str(file))):
        if text := ast.get_docstring(node):
            line = node.body[0].lineno
            yield Docstring(module, f"{file}:{line}", mask_own_names(text, module))


def documented(node: ast.AST) -> Iterator[Documented]:
    """Modules, classes and functions; only statements are visited, which is several times faster than ``ast.walk``."""
    if isinstance(node, Documented):
        yield node
    for field in ("body", "orelse", "handlers", "finalbody"):
        children = getattr(node, field, ())
        for child in children if isinstance(children, list) else ():
            yield from documented(child)


def mask_own_names(text: str, module: str) -> str:
    """Replace a module's dotted name and each of its parts, in any case, by a neutral word."""
    return _own_names(module).sub(MASK, text)


@lru_cache
def _own_names(module: str) -> re.Pattern[str]:
    parts = {part.strip("_") for part in module.split(".")}
    parts |= {part.removeprefix("py") for part in parts if f"_{part}" in module and part.startswith("py")}
    names = sorted({module, *parts} - {""}, key=len, reverse=True)
    return names_pattern(names)


def names_pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Whole words, in any case; an underscore ends a word."""
    ordered = sorted(names, key=len, reverse=True)
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, ordered))})(?![^\W_])", re.IGNORECASE)
