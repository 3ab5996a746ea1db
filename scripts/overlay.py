"""A study's variant as one configuration, with the place of every key for the parser's errors."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ..contracts.config_diff import plain
from ..contracts.config_file import ConfigLoader, Entry, read_entries, read_text
from ..contracts.errors import UserError
from ..studies.overriding import NoPlace, overridden
from ..studies.resolution import Variant
from .invocation import Invocation, read_invocation
from .precheck import check_arguments_of_classes, check_class, check_not_linked, precheck

STUDY_DEFAULTS = {"callbacks": [], "enable_progress_bar": False}
"""Of the trainer, where the base says nothing: cells are compared at equal length, so that none stops early."""


@dataclass(frozen=True)
class OverlaidInvocation(Invocation):
    """``finelab fit -c BASE`` with overrides behind it.

    Args:
        said: file -> its keys, the last file counts first.
    """

    said: dict[Path, list[Entry]] = field(default_factory=dict)

    @cached_property
    def entries(self) -> dict[Path, list[Entry]]:
        return self.said


class Overlay:
    """Puts overrides onto a base configuration.

    Args:
        base: the configuration file.
        study: the study file, for errors.
        trusted: packages that the configurations may name beside the allowed ones.

    Raises:
        UserError: the base cannot be read, or is refused as ``finelab fit`` would refuse it.
    """

    def __init__(self, base: Path, study: Path, trusted: Sequence[str]) -> None:
        self.base, self.study, self.trusted = base, study, tuple(trusted)
        self._entries = read_entries(base)
        self._content = yaml.load(read_text(base), Loader=ConfigLoader) or {}
        words = [word for name in trusted for word in ("--trust-module", name)]
        precheck(read_invocation(["fit", "-c", str(base), *words]))

    def content(self, variant: Variant) -> dict[str, Any]:
        """The configuration that is left to be parsed.

        Raises:
            UserError: a key that leads nowhere, is filled from elsewhere, or a class that is not allowed.
        """
        trainer = STUDY_DEFAULTS | (self._content.get("trainer") or {})
        content = self._content | {"trainer": trainer}
        for where, overrides in variant.overrides:
            for key, value in overrides.items():
                self._precheck(where, key, value)
                try:
                    content = overridden(content, {key: value})
                except NoPlace as error:
                    raise UserError(f"{where} sets {key}, but {error}.") from error
        return content

    def _precheck(self, where: str, key: str, value: Any) -> None:
        entries = list(entries_of(where, key, value))
        check_arguments_of_classes(entries)
        for entry in entries:
            check_not_linked(entry.key, entry.where)
            if entry.key.endswith(".class_path") and entry.value:
                check_class(entry.key, entry.value, entry.where, self.trusted)

    def invocation(self, variant: Variant) -> OverlaidInvocation:
        """Knows where every key was said."""
        said = [
            entry
            for where, overrides in variant.overrides
            for key, value in overrides.items()
            for entry in entries_of(where, key, value)
        ]
        return OverlaidInvocation(
            command="fit",
            arguments=("fit",),
            configs=(self.base, self.study),
            trusted=self.trusted,
            run=None,
            input=None,
            output=None,
            resume=False,
            written=("finelab", "resolve"),
            said={self.base: self._entries, self.study: said},
        )

    def placed(self, message: str, variant: Variant) -> str:
        """With the level before what a constructor says, which knows its key and no file."""
        keys = {plain(key): where for where, overrides in variant.overrides for key in overrides}
        named = [where for key, where in keys.items() if re.search(rf"(?<![\w.]){re.escape(key)}(?!\w)", message)]
        known = any(str(path) in message for path in (self.base, self.study))
        return f"{named[-1]}: {message}" if named and not known else message


def entries_of(where: str, key: str, value: Any) -> Iterator[Entry]:
    """An override as a config file's keys, all of them at the place of the level."""
    inner = dict(enumerate(value)) if isinstance(value, list) else value
    if isinstance(inner, dict):
        yield Entry(key, None, where)
        for name, each in inner.items():
            yield from entries_of(where, f"{key.rstrip('+')}.{name}", each)
    else:
        yield Entry(key, value if isinstance(value, str) else json.dumps(value), where)
