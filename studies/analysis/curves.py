"""Scores over a numeric factor: how much data is enough, how strong, how fast."""

from dataclasses import replace

import numpy as np

from ..statistics.learning_curve import Flat, NoFit, PowerLaw, fit_power_law, flat_from, predicted
from .analysis import Curve, Estimate
from .arms import best_arms, over_replicates
from .item_level import estimate
from .material import Material, points
from .scoring import bare
from .views import Along, along, number
from .wording import amount, decimals, interval, listed, plain

KINDS = ("learning_curve", "strength", "learning_rate")
GRID = 24


def curves(material: Material) -> list[Curve]:
    """Of each view that asks for one."""
    found = []
    for kind in KINDS:
        factor = material.study.views.get(kind)
        for group in along(material, factor) if factor is not None else ():
            each = material.tasks if kind == "learning_curve" else (None,)
            found += [curve for task in each if (curve := _curve(material, kind, group, task)) is not None]
    return found


def _curve(material: Material, kind: str, group: Along, task: str | None) -> Curve | None:
    """Of one task, whose seeds are replicates of one curve; over all of them where ``task`` is None."""
    key = material.study.metric.key
    tasks = material.tasks if task is None else (task,)
    group = group if task is None else replace(group, name=f"{group.name} on {task}" if group.name else f"on {task}")
    numbers = {level: value for level in group.arms if (value := number(level)) is not None}
    shown: list[tuple[float, str, Estimate]] = []
    for level, x in numbers.items():
        values = [p for p in points(material.of(group.arms[level].name), key)[0] if p.task in tasks]
        if values:
            shown.append((x, level, over_replicates(values, tasks)))
    if len(shown) < 2:
        return None
    shown.sort()
    x, levels, scores = (list(part) for part in zip(*shown, strict=True))
    if kind != "learning_curve":
        said = _best(material, group, levels, scores)
        return Curve(kind, group.factor, group.name, x, scores, {}, [], None, said)
    fit = fit_power_law(x, _by_seed(material, group, levels, task), material.study.metric.mode)
    if isinstance(fit, NoFit):
        said = f"{_about(group)}No learning curve is fitted: {fit.reason}."
        return Curve(kind, group.factor, group.name, x, scores, {}, [], None, said)
    parameters = {name: estimate(each) for name, each in (("a", fit.a), ("b", fit.b), ("c", fit.c))}
    margin = material.study.margin
    flat = flat_from(fit, margin) if margin is not None else None
    said = _learned(material, group, fit, flat)
    at = None if flat is None else estimate(flat.size)
    return Curve(kind, group.factor, group.name, x, scores, parameters, _fitted(fit), at, said)


def _by_seed(material: Material, group: Along, levels: list[str], task: str | None) -> list[list[float]]:
    """[sizes][seeds] of a task, of seeds that every size has."""
    key = material.study.metric.key
    found = [
        {p.replicate: p.value for p in points(material.of(group.arms[level].name), key)[0] if p.task == task}
        for level in levels
    ]  # fmt: skip
    shared = [seeds for seeds in found[0] if all(seeds in values for values in found)]
    return [[values[seeds] for seeds in shared] for values in found]


def _fitted(fit: PowerLaw) -> list[tuple[float, float, float, float]]:
    """On a logarithmic grid; where the data do not bound the curve, its bounds are the curve itself."""
    found = []
    for size in np.geomspace(fit.sizes[0], fit.sizes[-1], GRID).tolist():
        there = predicted(fit, size)
        low, high = (there.value if end is None else end for end in (there.low, there.high))
        found.append((float(size), there.value, low, high))
    return found


def _learned(material: Material, group: Along, fit: PowerLaw, flat: Flat | None) -> str:
    metric = bare(material.study.metric.key, material.study.metric.split)
    limit = f"The fitted learning curve has its limit at {_bounded(estimate(fit.a))} in {metric}"
    if not fit.limit_identified:
        way = "rise" if fit.mode == "max" else "fall"
        limit = f"The data do not say where the learning curve of {metric} ends: it may {way} without end"
    limit = _about(group) + limit
    if flat is None or material.study.margin is None:
        return f"{limit}. No margin is declared, so no size is named from which on it is flat."
    margin, size = plain(material.study.margin), _rows(estimate(flat.size))
    if flat.reference == "limit":
        beyond = ", which is beyond the largest size measured and an extrapolation"
        where = beyond if flat.size.value > fit.sizes[-1] else ""
        return f"{limit}; from {size} {group.factor} on it stays within {margin} of that{where}."
    return (
        f"{limit}. From {size} {group.factor} on it is within {margin} of its height at the largest size measured, "
        f"{plain(float(fit.sizes[-1]))}; that says nothing about more."
    )


def _best(material: Material, group: Along, levels: list[str], scores: list[Estimate]) -> str:
    sign = 1 if material.study.metric.mode == "max" else -1
    at = max(range(len(scores)), key=lambda i: sign * scores[i].value)
    best = best_arms(material, list(group.arms.values()))
    alike = [level for level in levels if group.arms[level].name in best and level != levels[at]]
    metric = bare(material.study.metric.key, material.study.metric.split)
    said = f"{_about(group)}{group.factor}: the best mean is at {levels[at]} ({interval(scores[at])} in {metric})"
    said += f"; {listed(alike)} {'is' if len(alike) == 1 else 'are'} not significantly worse" if alike else ""
    edge = (
        " That is the edge of what was tried, and a better one may lie beyond it." if at in (0, len(scores) - 1) else ""
    )
    return f"{said}.{edge}"


def _about(group: Along) -> str:
    return f"{group.name}: " if group.name else ""


def _bounded(found: Estimate) -> str:
    """An interval that may be open at an end."""
    if found.low is not None and found.high is not None:
        return interval(found)
    ends = [end for end in (found.value, found.low, found.high) if end is not None]
    places = max(2, decimals(*ends)) if len(ends) > 1 else decimals(found.value)
    low, high = ("…" if end is None else amount(end, places) for end in (found.low, found.high))
    return f"{amount(found.value, places)} [{low}, {high}]"


def _rows(found: Estimate) -> str:
    low, high = ("…" if end is None else f"{end:,.0f}" for end in (found.low, found.high))
    return f"{found.value:,.0f} [{low}, {high}]"
