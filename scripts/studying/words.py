"""The words after ``finelab study``: what is to be done, with which file, and how."""

import difflib
import shlex
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...contracts.errors import UserError
from ...contracts.inert import printable

ROOT, TRUST = "--root", "--trust-module"
SLOTS, FAIL_FAST = "--slots", "--fail-fast"
NO_MEASURE, WATCH, FAILED, CELL = "--no-measure", "--watch", "--failed", "--cell"
EVERYWHERE = (ROOT, TRUST)
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "plan": (*EVERYWHERE, SLOTS, NO_MEASURE),
    "run": (*EVERYWHERE, SLOTS, FAIL_FAST),
    "status": (*EVERYWHERE, WATCH),
    "retry": (*EVERYWHERE, SLOTS, FAIL_FAST, FAILED, CELL),
    "report": EVERYWHERE,
}
SWITCHES = (FAIL_FAST, NO_MEASURE, WATCH, FAILED)
VALUES = {ROOT: "a folder", TRUST: "the name of a package", SLOTS: "a number", CELL: "the id of a cell"}
SHAPE = "finelab study plan|run|status|retry|report FILE"


@dataclass(frozen=True)
class Words:
    """One command line.

    Args:
        verb: ``plan``, ``run``, ``status``, ``retry`` or ``report``.
        file: the study file, or the folder of its results.
        root: replaces the study file's root.
        trusted: packages that the configurations may name beside those of the study file.
        slots: replaces the engine's number of slots.
        switches: options without a value.
        cells: beginnings of cells' ids.
    """

    verb: str
    file: str
    root: str | None = None
    trusted: tuple[str, ...] = ()
    slots: int | None = None
    switches: frozenset[str] = frozenset()
    cells: tuple[str, ...] = field(default=())

    def command(self, verb: str, *more: str) -> str:
        """``finelab study run FILE --root DIR``: another command on the same study, with what was given for this one.

        Args:
            verb: of the other command.
            more: its own options.
        """
        said = ["finelab", "study", verb, self.file]
        said += [] if self.root is None else [ROOT, self.root]
        said += [word for name in self.trusted for word in (TRUST, name)]
        said += [] if self.slots is None or SLOTS not in OPTIONS[verb] else [SLOTS, str(self.slots)]
        return printable(shlex.join([*said, *more]))


def read_words(words: Sequence[str]) -> Words:
    """Sort them.

    Args:
        words: after ``study``; not empty.

    Raises:
        UserError: an unknown verb or option, one that belongs to another verb, a value that is missing or no number,
            no file or two.
    """
    verb, *rest = words
    if verb not in OPTIONS:
        raise UserError(f"{verb!r} is no command of finelab study, which is used as {SHAPE}; {_nearest(verb, OPTIONS)}")
    taken, files = _sorted(verb, rest)
    if len(files) != 1:
        what = "names no study file" if not files else f"names {len(files)} files, {', '.join(files)}"
        raise UserError(f"finelab study {verb} on the command line {what}; it takes one: finelab study {verb} FILE.")
    switches = frozenset(option for option in SWITCHES if option in taken)
    found = Words(
        verb=verb,
        file=files[0],
        root=taken.get(ROOT, [None])[-1],
        trusted=tuple(taken.get(TRUST, ())),
        slots=_count(taken[SLOTS][-1]) if SLOTS in taken else None,
        switches=switches,
        cells=tuple(taken.get(CELL, ())),
    )
    if verb == "retry" and (FAILED in taken) == (CELL in taken):
        given = "both were given" if FAILED in taken else "neither was given"
        raise UserError(
            f"finelab study retry takes either {FAILED}, for every cell that failed, or {CELL} ID, for one; {given}. "
            f"{found.command('status')} lists the failed cells with their ids."
        )
    return found


def _sorted(verb: str, words: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    taken: dict[str, list[str]] = {}
    files: list[str] = []
    left = deque(words)
    while left:
        word = left.popleft()
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            files.append(word)
            continue
        if name not in OPTIONS[verb]:
            raise UserError(_refusal(verb, name))
        if name in SWITCHES:
            if equals:
                raise UserError(f"{word} on the command line: {name} takes no value; leave out ={value}.")
        elif not equals:
            value = left.popleft() if left and not left[0].startswith("-") else ""
        if name not in SWITCHES and not value:
            raise UserError(f"{name} on the command line needs {VALUES[name]} after it.")
        taken.setdefault(name, []).append(value)
    return taken, files


def _refusal(verb: str, option: str) -> str:
    owners = [other for other, options in OPTIONS.items() if option in options]
    if owners:
        return f"{option} on the command line belongs to finelab study {' and '.join(owners)}, not to {verb}."
    known = f"finelab study {verb} takes {', '.join(OPTIONS[verb])}"
    return f"{option} on the command line is no option here: {known}; {_nearest(option, OPTIONS[verb])}"


def _nearest(word: str, known: Mapping[str, object] | Sequence[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean {near[0]}?" if near else "finelab study --help says what each does."


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise UserError(f"{SLOTS} {text} on the command line has to be a number of cells at a time, 1 or more.")
    return int(text)
