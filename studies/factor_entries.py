"""Factors and their levels, as a study file writes them."""

import re
from collections.abc import Sequence
from typing import Any

from ..contracts.config_file import nearest
from ..contracts.errors import UserError
from .located import Located
from .study import Factor, Level, Overrides

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._ -]{0,62}[A-Za-z0-9._-])?")
GROUPS = ("model", "data", "trainer", "monitor")
"""Where a study may change a configuration."""
OURS = {
    "seeds": "replicates say the seeds of every cell, the same for every arm",
    "run": "a study names the folders of its runs itself",
    "evaluate_test": "the test split is read where the metric or a secondary score is on it, and never while tuning",
}


def read_factors(given: Located) -> tuple[Factor, ...]:
    """Raises:
    UserError: no factor, a name that cannot be, a factor without levels, a ``when`` that cannot hold.
    """
    factors = tuple(_factor(name, entry) for name, entry in given.entries.items())
    if not factors:
        raise given.wrong("but there is no factor; name at least one with two levels.")
    by_name = {factor.name: factor for factor in factors}
    return tuple(_with_known_conditions(factor, by_name, given.entries[factor.name]) for factor in factors)


def _factor(name: str, given: Located) -> Factor:
    _require_name(name, "factor", given)
    entries = dict(given.entries)
    condition = entries.pop("when", None)
    when = {} if condition is None else {other: _listed(names) for other, names in condition.entries.items()}
    if "key" in entries or "values" in entries:
        levels = _levels_of_values(given)
    else:
        levels = tuple(_level(name, level, entry) for level, entry in entries.items())
    if not levels:
        raise given.wrong(f"but factor {name} has no level; write LEVEL: {{KEY: VALUE}}, or key: and values:.")
    names = [level.name for level in levels]
    for level in levels:
        if level.placebo_of is not None and (level.placebo_of not in names or level.placebo_of == level.name):
            others = [each for each in names if each != level.name]
            raise UserError(
                f"{level.where}: factor {name}, level {level.name} is the placebo of {level.placebo_of!r}, which is no "
                f"other level of that factor; {nearest(level.placebo_of, others)}"
            )
    return Factor(name, levels, when)


def _require_name(name: str, what: str, given: Located) -> None:
    if not NAME.fullmatch(name):
        raise given.wrong(
            f"but {name!r} cannot be the name of a {what}: use up to 64 letters, digits, spaces, dots, dashes and "
            "underscores, and start with a letter or digit."
        )


def _listed(given: Located) -> tuple[str, ...]:
    return tuple(entry.written for entry in given.items()) if given.is_list else (given.written,)


def _levels_of_values(given: Located) -> tuple[Level, ...]:
    """``key: K, values: [...]``: one level a value, named as it is written."""
    entries = given.only(("when", "key", "values"))
    for name in ("key", "values"):
        if name not in entries:
            raise given.wrong(f"but {name} is missing: key and values belong together.")
    key = entries["key"].written
    _require_key(key, entries["key"])
    levels: dict[str, Level] = {}
    for entry in entries["values"].items():
        name = "null" if entry.is_nothing else entry.written
        if name in levels:
            raise entry.wrong("but that value stands there twice.")
        levels[name] = Level(name, {key: entry.plain()}, entry.where)
    return tuple(levels.values())


def _level(factor: str, name: str, given: Located) -> Level:
    _require_name(name, f"level of factor {factor}", given)
    if not (given.is_mapping or given.is_nothing):
        raise given.wrong(f"but level {name} of factor {factor} is a mapping of configuration keys to values.")
    entries = dict(given.entries)
    placebo = entries.pop("placebo_of", None)
    return Level(name, _overrides(entries), given.where, None if placebo is None else placebo.written)


def read_overrides(given: Located | None) -> Overrides:
    return {} if given is None else _overrides(given.entries)


def _overrides(entries: dict[str, Located]) -> Overrides:
    found: dict[str, Any] = {}
    for key, entry in entries.items():
        _require_key(key, entry)
        found[key] = entry.plain()
    return found


def _require_key(key: str, given: Located) -> None:
    """Raises:
    UserError: a key that a study sets itself, or that no configuration has.
    """
    group = key.partition(".")[0].rstrip("+")
    if group in OURS:
        raise given.wrong(f"but no level may set {group}: {OURS[group]}.")
    if group not in GROUPS:
        raise given.wrong(f"but a configuration has no key {group!r}; {nearest(group, list(GROUPS))}")


def _with_known_conditions(factor: Factor, factors: dict[str, Factor], given: Located) -> Factor:
    """With the levels of ``when`` under the names that they have; a condition that never holds is refused."""
    when: dict[str, tuple[str, ...]] = {}
    for other, names in factor.when.items():
        place = given.entries["when"]
        if other not in factors or other == factor.name:
            known = [name for name in factors if name != factor.name]
            raise place.wrong(
                f"but factor {factor.name} applies under {other!r}, which is no other factor, so that it never holds; "
                f"{nearest(other, known)}"
            )
        if not names:
            raise place.wrong(f"but factor {factor.name} applies under no level of {other}, so that it never holds.")
        when[other] = tuple(_level_name(name, factors[other], place) for name in names)
    return Factor(factor.name, factor.levels, when)


def read_levels_of(given: Located, factors: Sequence[Factor]) -> dict[str, str]:
    """``{FACTOR: LEVEL}``, of the baseline or of a listed cell.

    Raises:
        UserError: an unknown factor or level.
    """
    by_name = {factor.name: factor for factor in factors}
    return {
        name: _level_name(entry.written if not entry.is_nothing else "null", by_name[name], entry)
        for name, entry in given.only(tuple(by_name)).items()
    }


def _level_name(written: str, factor: Factor, given: Located) -> str:
    """The level that is meant: by its name, or by its number (``0`` for ``0.0``)."""
    names = [level.name for level in factor.levels]
    if written in names:
        return written
    same = [name for name in names if number_of(name) is not None and number_of(name) == number_of(written)]
    if same:
        return same[0]
    raise given.wrong(f"but factor {factor.name} has no level {written!r}; {nearest(written, names)}")


def number_of(name: str) -> float | None:
    """What a level's name says as a number; None where it is none."""
    try:
        return float(name)
    except ValueError:
        return None
