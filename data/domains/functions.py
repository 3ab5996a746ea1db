"""Documented functions of Python files, read from their syntax: nothing is imported or run."""

import ast
import builtins
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .docstrings import documented, names_pattern

STATEMENTS: dict[str, tuple[type[ast.AST], ...]] = {
    "branch": (ast.If, ast.IfExp, ast.Match),
    "loop": (ast.For, ast.AsyncFor, ast.While),
    "comprehension": (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
    "exception handler": (ast.Try, ast.TryStar),
    "context manager": (ast.With, ast.AsyncWith),
    "raise": (ast.Raise,),
    "return": (ast.Return,),
    "yield": (ast.Yield, ast.YieldFrom),
    "inner function": (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda),
    "import": (ast.Import, ast.ImportFrom),
}
"""What a function may contain: kind -> nodes of its syntax tree."""

WORD = re.compile(r"[^\W\d]\w*|\d+|[^\w\s]")
NAME = re.compile(r"(?:[^\W\d]\w+\.)+[^\W\d]\w+(?:\(\))?|[^\W\d]\w+\(\)")
EXCEPTION = re.compile(r"[A-Z]\w*(?:Error|Exception|Warning)")
EXCEPTIONS = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, Exception)}

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Function:
    """One documented function.

    Args:
        module: dotted name of the module it stands in.
        where: ``file:line``.
        name: without its class.
        signature: with its parameters.
        text: its docstring, as ``inspect.getdoc`` would clean it.
        body: its code without docstring and comments, in uniform layout.
        parameters: their names, without self and cls.
        statements: kinds of ``STATEMENTS`` in its body, in their order.
    """

    module: str
    where: str
    name: str
    signature: str
    text: str
    body: str
    parameters: frozenset[str]
    statements: tuple[str, ...]

    @property
    def log2_lines(self) -> float:
        """Of the body: 0 for one line, 3 for eight."""
        return math.log2(self.body.count("\n") + 1)

    @property
    def question(self) -> str:
        """The docstring with the function's own name masked."""
        return names_pattern([self.name]).sub("this", self.text)

    def tagged_words(self) -> tuple[list[str], list[str]]:
        """The docstring's words, and BIO tags of what is code in it.

        PARAMETER is a word that names a parameter of this function, which its form does not tell; EXCEPTION an
        exception class; NAME a dotted name or a call, in several words (``os . path . join ( )``).
        """
        words, tags = [], []
        names = [match.span() for match in NAME.finditer(self.text)]
        for match in WORD.finditer(self.text):
            words.append(match.group())
            tags.append(self._tag(match, names))
        return words, tags

    def _tag(self, word: re.Match[str], names: list[tuple[int, int]]) -> str:
        for start, end in names:
            if start <= word.start() < end:
                return "B-NAME" if word.start() == start else "I-NAME"
        if word.group() in EXCEPTIONS or EXCEPTION.fullmatch(word.group()):
            return "B-EXCEPTION"
        return "B-PARAMETER" if word.group() in self.parameters else "O"


def read_functions(module: str, file: Path, fewest_words: int = 1) -> Iterator[Function]:
    """The documented functions of one file with more than a docstring to them, methods and inner ones too, by line.

    Args:
        module: its dotted name.
        file: where it lies.
        fewest_words: of a docstring.
    """
    found = [node for node in documented(ast.parse(file.read_bytes(), str(file))) if isinstance(node, Definition)]
    for node in sorted(found, key=lambda node: node.lineno):
        text = ast.get_docstring(node)
        if text and len(text.split()) >= fewest_words and len(node.body) > 1:
            yield _function(node, module, f"{file}:{node.lineno}", text)


def _function(node: Definition, module: str, where: str, text: str) -> Function:
    body = node.body[1:]
    inside = {type(part) for statement in body for part in ast.walk(statement)}
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return Function(
        module=module,
        where=where,
        name=node.name,
        signature=f"{node.name}({ast.unparse(arguments)})",
        text=text,
        body="\n".join(map(ast.unparse, body)),
        parameters=frozenset(each.arg for each in every if each is not None) - {"self", "cls"},
        statements=tuple(kind for kind, nodes in STATEMENTS.items() if inside.intersection(nodes)),
    )
