"""Trained on one domain, evaluated on all of them."""

from statistics import fmean

from ..results import CellResult
from ..statistics.interval import t_interval
from .analysis import Estimate, Matrix
from .item_level import estimate
from .material import Material
from .views import Along, along
from .wording import counted

VIEW, BASE = "transfer", "base"


def matrices(material: Material) -> list[Matrix]:
    """One for each combination of the other factors' levels."""
    factor = material.study.views.get(VIEW)
    return [_matrix(material, group) for group in along(material, factor)] if factor is not None else []


def _matrix(material: Material, group: Along) -> Matrix:
    metric = material.study.metric
    name = metric.name.rpartition("/")[2]
    rows = list(group.arms)
    results = {row: material.of(arm.name) for row, arm in group.arms.items()}
    sets = [found for each in results.values() for result in each for found in _sets(result, metric.split)]
    columns = [row for row in rows if row in sets or results[row]]
    columns += [found for found in dict.fromkeys(sets) if found not in columns]
    cells = [[_cell(results[row], metric.split, row, column, name) for column in columns] for row in rows]
    before = [_before(results, metric.split, column, name) for column in columns]
    said = _sentence(rows, columns, cells, before, metric.mode)
    title = f"{group.name}: " if group.name else ""
    return Matrix(group.name, name, metric.mode, rows, columns, cells, before, title + said)


def _sets(result: CellResult, split: str) -> list[str]:
    """Names of the evaluated sets beside the run's own."""
    return [key.removeprefix(f"{split}/") for key in result.record.metrics if key.startswith(f"{split}/")]


def _key(result: CellResult, split: str, row: str, column: str) -> str:
    """Where a run keeps what it does on a domain: its own is the plain split, unless that has a name of its own."""
    named = f"{split}/{column}"
    return split if row == column and named not in result.record.metrics else named


def _cell(results: list[CellResult], split: str, row: str, column: str, name: str) -> Estimate | None:
    found = [result.record.metrics.get(_key(result, split, row, column)) for result in results]
    values = [each.after[name] for each in found if each is not None and name in each.after]
    return estimate(t_interval(values)) if values else None


def _before(results: dict[str, list[CellResult]], split: str, column: str, name: str) -> float | None:
    """Of the untouched base, from whichever run has evaluated it there."""
    found = [
        each.before[BASE][name]
        for row, cells in results.items()
        for result in cells
        if (each := result.record.metrics.get(_key(result, split, row, column))) is not None
        and name in each.before.get(BASE, {})
    ]
    return fmean(found) if found else None


def _sentence(
    rows: list[str], columns: list[str], cells: list[list[Estimate | None]], before: list[float | None], mode: str
) -> str:
    sign = 1 if mode == "max" else -1
    own = [column for column in columns if column in rows]
    led = 0
    for column in own:
        found = {row: cell for row, line in zip(rows, cells, strict=True) if (cell := line[columns.index(column)])}
        led += bool(found) and max(found, key=lambda row: sign * found[row].value) == column
    said = (
        f"By the means, the model trained on a domain is the best one there on {led} of {counted(len(own), 'domain')}"
    )
    others = [
        sign * (cell.value - start)
        for row, line in zip(rows, cells, strict=True)
        for column, cell, start in zip(columns, line, before, strict=True)
        if cell is not None and start is not None and column != row
    ]
    if others:
        lost = sum(gain < 0 for gain in others)
        said += f"; off its own domain it is worse than the untouched base in {lost} of {len(others)} cases"
    return f"{said}. These are means, not tests."
