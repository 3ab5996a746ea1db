"""A real data set for many kinds of targets that every Python brings along: the functions of its standard library."""

import hashlib
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ..rejections import Reject, Row
from ..sources import Source
from .areas import AREA_OF
from .docstrings import module_files
from .functions import Function, read_functions
from .stdlib_source import FEWEST_WORDS, assign_files, drop_near_duplicates, keep_once

CHOICES = 4


class PythonFunctions(Source):
    """Documented functions of the running Python's standard library; a template says which target is learnt.

    Columns: ``text`` (the docstring), ``signature``, ``body`` (the code without it), ``words`` and BIO ``tags`` (what
    is code in the docstring: PARAMETER, EXCEPTION, NAME), ``statements`` (kinds of statements in the body),
    ``log2_lines`` (of the body), ``question`` (the docstring with the function's name masked), ``choices`` (its name
    among three others, of the same file where there are as many) and ``answer``.

    Files, not functions, are assigned to splits, by a hash of the module's name, and of equal or nearly equal
    docstrings one stays, as in ``StdlibSource``. A docstring of fewer words than ``FEWEST_WORDS`` is left out.

    Args:
        rows: most training rows, taken by a hash of their place, the same for every seed; None takes all.
    """

    def __init__(self, rows: int | None = None) -> None:
        self.rows = rows

    @property
    def name(self) -> str:
        return f"functions of the standard library of Python {sysconfig.get_python_version()}"

    def splits(self) -> list[str]:
        return ["train", "validation", "test"]

    def digest(self) -> str:
        digest = hashlib.blake2b(str(self.rows).encode(), digest_size=16)
        for module, file in library_files().items():
            digest.update(module.encode() + file.read_bytes())
        return digest.hexdigest()

    def read(self, split: str, reject: Reject) -> Iterator[Row]:
        functions = library_functions()[split]
        names: dict[str, set[str]] = {}
        for function in functions:
            names.setdefault(function.module, set()).add(function.name)
        every = {name for own in names.values() for name in own}
        for function in self._taken(functions) if split == "train" else functions:
            words, tags = function.tagged_words()
            fields = {
                "id": f"{function.module}.{function.name}",
                "text": function.text,
                "signature": function.signature,
                "body": function.body,
                "words": words,
                "tags": tags,
                "statements": list(function.statements),
                "log2_lines": function.log2_lines,
                "question": function.question,
                "choices": choices(function, names[function.module], every),
                "answer": function.name,
            }
            yield Row(function.where, fields)

    def _taken(self, functions: list[Function]) -> list[Function]:
        if self.rows is None or self.rows >= len(functions):
            return functions
        order = sorted(range(len(functions)), key=lambda i: order_of(functions[i].module, functions[i].where))
        return [functions[i] for i in sorted(order[: self.rows])]


@cache
def library_files() -> dict[str, Path]:
    """Dotted name -> file, of the modules in the table of areas."""
    return module_files(Path(sysconfig.get_paths()["stdlib"]), AREA_OF)


@cache
def library_functions() -> dict[str, list[Function]]:
    """Split -> its functions; read once a process, since it takes seconds."""
    by_module = {module: list(read_functions(module, file, FEWEST_WORDS)) for module, file in library_files().items()}
    assigned = assign_files({module: len(functions) for module, functions in by_module.items()})
    splits: dict[str, list[Function]] = {split: [] for split in ("test", "validation", "train")}
    for module, functions in by_module.items():
        splits[assigned[module]] += functions
    keep_once(splits)
    drop_near_duplicates(splits)
    return splits


def choices(function: Function, beside: set[str], every: set[str]) -> list[str]:
    """A function's name among others of its file, else of its split, in an order that says nothing."""

    def place(name: str) -> bytes:
        return order_of(function.module, function.name, name)

    others = sorted(beside - {function.name}, key=place)[: CHOICES - 1]
    if len(others) < CHOICES - 1:
        others += sorted(every - beside, key=place)[: CHOICES - 1 - len(others)]
    return sorted([function.name, *others], key=lambda name: order_of(function.text, name))


def order_of(*parts: str) -> bytes:
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
