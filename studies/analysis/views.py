"""Arms along one factor: what the curves and the matrices of a study are made of."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..arm import Arm
from .material import Material


@dataclass(frozen=True)
class Along:
    """Arms that differ in one factor alone.

    Args:
        factor: its name.
        name: what is held fixed; empty where nothing else varies.
        arms: level -> arm, in the order of the factor.
    """

    factor: str
    name: str
    arms: dict[str, Arm]


def along(material: Material, factor: str) -> Iterator[Along]:
    """One for each combination of the other factors' levels that has at least two levels of this one."""
    levels = next((f.levels for f in material.study.factors if f.name == factor), ())
    groups: dict[tuple[tuple[str, str], ...], dict[str, Arm]] = {}
    for arm in material.arms:
        if factor in arm.levels:
            rest = tuple((name, level) for name, level in arm.levels.items() if name != factor)
            groups.setdefault(rest, {})[arm.levels[factor]] = arm
    varied = {name for rest in groups for name, level in rest if any(dict(o).get(name) != level for o in groups)}
    for rest, arms in groups.items():
        ordered = {level.name: arms[level.name] for level in levels if level.name in arms}
        if len(ordered) > 1:
            yield Along(factor, " + ".join(level for name, level in rest if name in varied), ordered)


def number(level: str) -> float | None:
    """Of a numeric level."""
    try:
        return float(level.replace(",", "").replace("_", ""))
    except ValueError:
        return None
