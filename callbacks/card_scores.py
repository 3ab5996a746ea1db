"""The card's tables of metrics: before, after, and what changed."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..contracts.figures import number, signed
from ..contracts.metrics import REFERENCES, TITLES, direction, in_order, strongest_reference, titled
from ..contracts.record import Best, Record, SplitResult
from .advice import shown_split

ROOMY = 4
"""So many metrics stand wide apart; more of them move together, to stay within a terminal."""


def scores(record: Record, width: int) -> Iterable[RenderableType]:
    """The split that counts, each reference and the tuned model in a row."""
    split = shown_split(record)
    if split is None:
        return [] if record.metrics else [Text("  Nothing was evaluated: there is no validation split.")]
    result = record.metrics[split]
    names = in_order({*result.after, *result.missing})
    for unimportant in reversed(by_importance(names, record)):
        if (
            Measurement.get(Console(), Console(width=500).options, table_of(split, result, names, record.best)).maximum
            <= width
        ):
            break
        names.remove(unimportant)
    lines: list[RenderableType] = [table_of(split, result, names, record.best)]
    lines += [Padding(Text(line), (0, 2)) for line in unmeasured(result)]
    if elsewhere := sorted(result.after.keys() - {*names, "bits_per_byte"}):
        lines.append(Text(f"  In record.json too: {', '.join(elsewhere)}.", style="dim"))
    if not record.test_read:
        lines.append(
            Text("  The test split was not read; --evaluate_test true reads it once, at the end.", style="dim")
        )
    return [*lines, Text("")] if len(lines) > 1 else lines


def unmeasured(result: SplitResult) -> list[str]:
    """Why a metric has no value, those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for name, reason in result.missing.items():
        reasons.setdefault(reason, []).append(TITLES.get(name, name))
    return [f"{', '.join(names)} –: {reason}." for reason, names in reasons.items()]


def by_importance(names: list[str], record: Record) -> list[str]:
    """What picked the weights, the loss, then the others in their order."""
    first = [record.best.monitor.rpartition("/")[2]] if record.best else []
    return [name for name in dict.fromkeys((*first, "nll", *names)) if name in names]


def table_of(split: str, result: SplitResult, names: list[str], best: Best | None) -> Table:
    is_wide = len(names) > ROOMY
    table = Table(box=SIMPLE_HEAD, pad_edge=True, padding=(0, 1, 0, 0) if is_wide else (0, 2, 0, 1))
    table.add_column(f"{split} split, {result.rows:,} rows", min_width=None if is_wide else 30, no_wrap=True)
    for name in names:
        table.add_column(titled(name, best), justify="right", no_wrap=True)
    for reference, metrics in result.before.items():
        table.add_row(REFERENCES.get(reference, reference), *(number(metrics.get(name)) for name in names))
    table.add_row("tuned", *(number(result.after.get(name)) for name in names), style="bold")
    if reference := strongest_reference(result.before):
        table.add_row(f"tuned − {reference}", *differences(result, reference, names, best))
    return table


def sets(record: Record) -> Iterable[RenderableType]:
    """Each named set of the test split if it was read, else of the validation split, before and after."""
    stages = [split.partition("/")[0] for split in record.metrics if "/" in split]
    if not stages:
        return []
    stage = "test" if "test" in stages else "validation"
    found = {split.partition("/")[2]: part for split, part in record.metrics.items() if split.startswith(f"{stage}/")}
    # The metric that picked the weights may be of one set: val/NAME/KEY.
    main = record.best.monitor.rpartition("/")[2] if record.best else "nll"
    names = [name for name in dict.fromkeys((main, "nll")) if all(name in part.after for part in found.values())]
    table = Table(box=SIMPLE_HEAD, pad_edge=True, padding=(0, 1, 0, 1))
    table.add_column(f"{stage} sets", min_width=16)
    table.add_column("rows", justify="right")
    for name in names:
        for heading in (f"{TITLES.get(name, name)} before", "tuned", "change"):
            table.add_column(heading, justify="right")
    for name, part in found.items():
        cells: list[str | Text] = [Text(name), f"{part.rows:,}"]
        reference = strongest_reference(part.before)
        changes = differences(part, reference, names, record.best) if reference else [Text("–")] * len(names)
        for metric, change in zip(names, changes, strict=True):
            before = part.before[reference].get(metric) if reference else None
            cells += [number(before), number(part.after[metric]), change]
        table.add_row(*cells)
    return [table]


def differences(result: SplitResult, reference: str, names: list[str], best: Best | None) -> list[Text]:
    """Green for the better and red for the worse, without a colour where nobody says which way is better."""
    cells = []
    for name in names:
        before, after = result.before[reference].get(name), result.after.get(name)
        if before is None or after is None:
            cells.append(Text(number(None)))
            continue
        change = after - before
        way = direction(name, best)
        better = change > 0 if way == "max" else change < 0
        style = "" if way is None or not change else "green" if better else "red"
        cells.append(Text(signed(change, after), style=style))
    return cells
