"""Which combinations of levels a study compares: its arms, each with its reference and its placebo."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from ..contracts.errors import UserError
from .arm import Arm
from .factor_entries import number_of
from .study import DesignType, Factor, Level, Study

Levels = dict[str, str]
UNTELLING = frozenset({"on", "off", "yes", "no", "true", "false", "null", "with", "without"})
"""Names of levels that say nothing without that of their factor."""
WHOLE = "all parts"


def arms_of(study: Study) -> tuple[Arm, ...]:
    """The arms, in the order of the factors' levels; the tasks are no part of an arm.

    ``grid`` and ``nested``: every combination, each factor where its ``when`` holds. ``one_factor``: the baseline, and
    one change of it at a time. ``leave_one_out``: the baseline, and it without one part at a time. ``cells``: those
    that are listed. What a combination leaves out is as in the baseline, or the factor's first level.

    Raises:
        UserError: a design that cannot be, with the factor and the level that it fails at.
    """
    factors = in_order(study)
    baseline = baseline_of(study, factors)
    combinations = DESIGNS[study.design](study, factors, baseline)
    require_baseline(study, baseline, combinations)
    require_used(study, factors, combinations)
    names = names_of(study, factors, baseline, combinations)
    require_different(study, factors, names, combinations)
    by_levels = {frozen(levels): name for name, levels in zip(names, combinations, strict=True)}
    return tuple(
        Arm(
            name,
            levels,
            reference_of(study, factors, baseline, levels, by_levels),
            placebo_of(study, factors, baseline, levels, by_levels),
        )
        for name, levels in zip(names, combinations, strict=True)
    )


# ---- factors and what applies


def in_order(study: Study) -> list[Factor]:
    """Those that make arms, each behind the ones that its ``when`` names.

    Raises:
        UserError: conditions that wait for each other, or on the tasks, which every arm has all of.
    """
    factors = {factor.name: factor for factor in study.factors}
    for factor in study.factors:
        if study.tasks is not None and (study.tasks in factor.when or (factor.name == study.tasks and factor.when)):
            raise UserError(
                f"{study.file}: factor {factor.name} has a when that concerns {study.tasks}, whose levels are the "
                "tasks; every arm runs on every task, so that the two cannot depend on each other."
            )
    try:
        order = list(TopologicalSorter({name: factor.when.keys() for name, factor in factors.items()}).static_order())
    except CycleError as error:
        raise UserError(
            f"{study.file}: the conditions (when) of factors {', '.join(error.args[1][1:])} wait for each other, so "
            "that none ever holds."
        ) from error
    return [factors[name] for name in order if name != study.tasks]


def applies(factor: Factor, levels: Mapping[str, str]) -> bool:
    return all(levels.get(other) in names for other, names in factor.when.items())


def completed(study: Study, factors: Sequence[Factor], chosen: Levels, baseline: Levels) -> Levels:
    """A level for every factor that applies, in the order of the study file: the chosen one, the baseline's, the first.

    What is chosen for a factor that does not apply is left out.
    """
    levels: Levels = {}
    for factor in factors:
        if applies(factor, levels):
            levels[factor.name] = chosen.get(factor.name, baseline.get(factor.name, factor.levels[0].name))
    return {factor.name: levels[factor.name] for factor in study.factors if factor.name in levels}


def refuse_idle(study: Study, factors: Sequence[Factor], said: Levels, levels: Levels, what: str) -> None:
    """Raises:
    UserError: something was said of a factor that does not apply there.
    """
    for name in said:
        if name not in levels:
            when = next((factor.when for factor in factors if factor.name == name), {})
            reason = f"applies only when {told(when)}" if when else "is that of the tasks, which every arm has all of"
            raise UserError(
                f"{study.file}: {what} names factor {name}, level {said[name]}, but that factor {reason}; leave it out."
            )


def told(when: Mapping[str, Sequence[str]]) -> str:
    return " and ".join(f"{other} is {' or '.join(names)}" for other, names in when.items())


def baseline_of(study: Study, factors: Sequence[Factor]) -> Levels:
    levels = completed(study, factors, study.baseline, {})
    refuse_idle(study, factors, study.baseline, levels, "baseline")
    return levels


# ---- one function a design


def grid(study: Study, factors: Sequence[Factor], baseline: Levels) -> list[Levels]:
    def grown(levels: Levels, left: Sequence[Factor]) -> Iterator[Levels]:
        if not left:
            yield levels
        elif not applies(left[0], levels):
            yield from grown(levels, left[1:])
        else:
            for level in left[0].levels:
                yield from grown({**levels, left[0].name: level.name}, left[1:])

    places = {factor.name: [level.name for level in factor.levels] for factor in study.factors}

    def place(levels: Levels) -> list[int]:
        return [places[name].index(levels[name]) if name in levels else -1 for name in places]

    return sorted((completed(study, factors, levels, {}) for levels in grown({}, factors)), key=place)


def nested(study: Study, factors: Sequence[Factor], baseline: Levels) -> list[Levels]:
    if not any(factor.when for factor in factors):
        raise UserError(f"{study.file}: design: nested needs a factor with when: {{FACTOR: [LEVEL]}}; else write grid.")
    return grid(study, factors, baseline)


def one_factor(study: Study, factors: Sequence[Factor], baseline: Levels) -> list[Levels]:
    changes = [
        {**baseline, factor.name: level.name}
        for factor in study.factors
        if factor.name in baseline
        for level in factor.levels
        if level.name != baseline[factor.name]
    ]
    return [baseline, *(completed(study, factors, levels, baseline) for levels in changes)]


def leave_one_out(study: Study, factors: Sequence[Factor], baseline: Levels) -> list[Levels]:
    for factor in factors:
        without = [level.name for level in factor.levels if level.placebo_of is None]
        if len(without) > 2:
            raise UserError(
                f"{study.file}: factor {factor.name} has the levels {', '.join(without)}, and design: leave_one_out "
                "knows a part and what is left without it; keep two of them, or write design: one_factor."
            )
    return one_factor(study, factors, baseline)


def cells(study: Study, factors: Sequence[Factor], baseline: Levels) -> list[Levels]:
    found = []
    for number, listed in enumerate(study.listed, 1):
        levels = completed(study, factors, listed, baseline)
        refuse_idle(study, factors, listed, levels, f"entry {number} of design.cells")
        if levels in found:
            raise UserError(
                f"{study.file}: entry {number} of design.cells is entry {found.index(levels) + 1} once more "
                f"({shown(levels)}); leave one out."
            )
        found.append(levels)
    return found


DESIGNS: dict[DesignType, Callable[[Study, Sequence[Factor], Levels], list[Levels]]] = {
    "grid": grid,
    "nested": nested,
    "one_factor": one_factor,
    "leave_one_out": leave_one_out,
    "cells": cells,
}


# ---- what a design has to have


def require_baseline(study: Study, baseline: Levels, combinations: Sequence[Levels]) -> None:
    if baseline not in combinations:
        raise UserError(f"{study.file}: the baseline ({shown(baseline)}) is not among design.cells; list it.")


def require_used(study: Study, factors: Sequence[Factor], combinations: Sequence[Levels]) -> None:
    if study.design == "cells":
        return
    for factor in factors:
        used = {levels[factor.name] for levels in combinations if factor.name in levels}
        if not used:
            raise UserError(
                f"{study.file}: factor {factor.name} is in no arm: it applies only when {told(factor.when)}, which no "
                f"arm of design: {study.design} has."
            )
        for level in factor.levels:
            if level.name not in used:
                raise UserError(
                    f"{level.where}: factor {factor.name}, level {level.name} is in no arm of design: {study.design}, "
                    f"since the factor applies only when {told(factor.when)}; write design: nested, list the cells, or "
                    "leave the level out."
                )


def require_different(study: Study, factors: Sequence[Factor], names: list[str], combinations: list[Levels]) -> None:
    by_name = {factor.name: {level.name: level for level in factor.levels} for factor in factors}
    seen: dict[str, str] = {}
    for name, levels in zip(names, combinations, strict=True):
        if names.count(name) > 1:
            raise UserError(
                f"{study.file}: two arms would have the same name, {name!r}; give a level of "
                f"{', '.join(levels)} another."
            )
        said = [by_name[factor][level].overrides for factor, level in levels.items()]
        content = json.dumps([each for each in said if each], sort_keys=True, default=str)
        if content in seen:
            raise UserError(
                f"{study.file}: arms {seen[content]!r} and {name!r} change the same keys to the same values, so that "
                "nothing could be compared; change a level of one or leave it out."
            )
        seen[content] = name


# ---- names, references, placebos


def names_of(study: Study, factors: Sequence[Factor], baseline: Levels, combinations: Sequence[Levels]) -> list[str]:
    if study.design == "leave_one_out":
        return [_name_of_rest(levels, study, baseline) for levels in combinations]
    telling = [factor for factor in study.factors if factor in factors and len(factor.levels) > 1] or factors
    times: dict[str, int] = {}
    for factor in telling:
        for level in factor.levels:
            times[level.name] = times.get(level.name, 0) + 1

    def part(factor: Factor, level: str) -> str:
        bare = times[level] == 1 and level.lower() not in UNTELLING and number_of(level) is None
        return level if bare or (len(telling) == 1 and number_of(level) is None) else f"{factor.name} {level}"

    return [
        " + ".join(part(factor, levels[factor.name]) for factor in telling if factor.name in levels)
        for levels in combinations
    ]


def _name_of_rest(levels: Levels, study: Study, baseline: Levels) -> str:
    changed = [factor for factor in study.factors if baseline.get(factor.name) != levels.get(factor.name)]
    if not changed:
        return WHOLE
    first = next(factor for factor in changed if factor.name in baseline and factor.name in levels)
    if level_of(first, levels[first.name]).placebo_of is not None:
        return f"{first.name} {levels[first.name]}"
    return f"without {first.name}"


def reference_of(
    study: Study, factors: Sequence[Factor], baseline: Levels, levels: Levels, arms: Mapping[frozenset, str]
) -> str | None:
    """The arm of the same levels of ``within`` and the baseline's of all other factors."""
    kept = {name: level for name, level in levels.items() if name in study.within or name not in baseline}
    wanted = completed(study, factors, {**baseline, **kept}, levels)
    if wanted == levels:
        return None
    if frozen(wanted) not in arms:
        raise UserError(
            f"{study.file}: the arm {arms[frozen(levels)]!r} is compared with {shown(wanted)}, by within and baseline, "
            f"which design: {study.design} does not have; list it, or change within."
        )
    return arms[frozen(wanted)]


def placebo_of(
    study: Study, factors: Sequence[Factor], baseline: Levels, levels: Levels, arms: Mapping[frozenset, str]
) -> str | None:
    """The arm that has the placebo of a level in the place of it.

    Raises:
        UserError: there is one of the two and not the other.
    """
    for factor in factors:
        level = levels.get(factor.name)
        if level is None or level == baseline.get(factor.name):
            continue
        for placebo in (each for each in factor.levels if each.placebo_of == level):
            return _partner(study, factors, baseline, levels, factor, placebo.name, arms)
        idea = level_of(factor, level).placebo_of
        if idea is not None and idea != baseline.get(factor.name):
            _partner(study, factors, baseline, levels, factor, idea, arms)
    return None


def _partner(
    study: Study,
    factors: Sequence[Factor],
    baseline: Levels,
    levels: Levels,
    factor: Factor,
    level: str,
    arms: Mapping[frozenset, str],
) -> str:
    wanted = completed(study, factors, {**levels, factor.name: level}, baseline)
    if frozen(wanted) not in arms:
        raise UserError(
            f"{study.file}: the arm {arms[frozen(levels)]!r} is compared with its placebo or is one, and its "
            f"counterpart with factor {factor.name}, level {level} ({shown(wanted)}) is no arm of design: "
            f"{study.design}; list both."
        )
    return arms[frozen(wanted)]


def level_of(factor: Factor, name: str) -> Level:
    return next(level for level in factor.levels if level.name == name)


def frozen(levels: Levels) -> frozenset:
    return frozenset(levels.items())


def shown(levels: Levels) -> str:
    return ", ".join(f"{factor}: {level}" for factor, level in levels.items())
