"""A disk that dies or refuses at a chosen system call, in the spirit of SQLite's tests (sqlite.org/testing.html)."""

import os
from contextlib import contextmanager
from typing import Literal

CHANGES = ("open", "write", "fsync", "mkdir", "rename", "replace", "link", "unlink", "remove", "rmdir", "chmod")
"""Calls that change what is on the disk, or say when."""


class Killed(BaseException):
    """The process is gone: no handler, no clean-up and no further call of it reaches the disk."""


class FaultyDisk:
    """Stands in for the calls of ``os``.

    Args:
        at: the call that goes wrong, counted from 0; None for none.
        fault: ``kill`` before the call, ``torn`` in the middle of a write, ``power`` for a kill after which every byte
            that was not flushed is gone, or the number of an ``OSError``.
        only: calls of these names go wrong.
    """

    def __init__(
        self, at: int | None = None, fault: Literal["kill", "torn", "power"] | int = "kill", only: tuple = CHANGES
    ) -> None:
        self.at, self.fault, self.only = at, fault, only
        self.trace: list[tuple[str, str]] = []
        self.dead = False
        self.unflushed: dict[int, str] = {}
        self.real = {name: getattr(os, name) for name in CHANGES}

    @contextmanager
    def __call__(self, monkeypatch):
        with monkeypatch.context() as patch:
            for name in CHANGES:
                patch.setattr(os, name, lambda *a, _name=name, **k: self.call(_name, *a, **k))
            yield self
        if self.dead and self.fault == "power":
            for path in self.unflushed.values():
                if os.path.exists(path):
                    os.truncate(path, os.path.getsize(path) // 2)

    def call(self, name, *arguments, **options):
        if self.dead:
            raise Killed
        if name == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR):  # changes nothing
            return self.real[name](*arguments, **options)
        place, counts = self.place(arguments[0]), name in self.only
        goes_wrong = counts and len([entry for entry in self.trace if entry[0] in self.only]) == self.at
        self.trace.append((name, place))
        if goes_wrong:
            self.go_wrong(name, arguments)
        found = self.real[name](*arguments, **options)
        if name == "write":
            self.unflushed[os.fstat(arguments[0]).st_ino] = place
        elif name == "fsync":
            self.unflushed.pop(os.fstat(arguments[0]).st_ino, None)
        elif name in ("rename", "replace"):
            old, new = place, str(arguments[1])
            self.unflushed = {node: path.replace(old, new, 1) for node, path in self.unflushed.items()}
        return found

    def go_wrong(self, name, arguments):
        if isinstance(self.fault, int):
            raise OSError(self.fault, os.strerror(self.fault))
        if self.fault == "torn" and name == "write":
            self.real["write"](arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
        self.dead = True
        raise Killed

    @staticmethod
    def place(argument):
        return os.readlink(f"/proc/self/fd/{argument}") if isinstance(argument, int) else str(argument)
