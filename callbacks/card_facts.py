"""The card's lines on what was trained, how long it took, and where the best weights were."""

from rich.table import Table
from rich.text import Text

from ..contracts.figures import duration, number
from ..contracts.record import Cost, Record
from .card_findings import findings
from .factors import statement, trained_share

NAMES = 11
"""Columns that the names before the lines take."""


def facts(record: Record) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", min_width=NAMES)
    grid.add_column()
    grid.add_row("trained", trained_share(record.parameters["trainable"], record.parameters["total"]))
    grid.add_row("adapter", Text(statement(record.adapter)))
    cost = record.cost
    sessions = f", over {len(record.resumed) + 1} sessions" if record.resumed else ""
    apart = max(cost.total_seconds - cost.training_seconds, 0.0)
    seconds = f"{duration(cost.training_seconds)} training, {duration(apart)} evaluation and set-up"
    grid.add_row("time", f"{seconds}; {cost.steps:,} steps{sessions}")
    grid.add_row("speed", _speed(cost))
    if consumed := record.data.get("consumed"):
        grid.add_row("sources", Text("; ".join(_consumed(name, own) for name, own in consumed.items())))
    grid.add_row("memory", f"{cost.peak_memory_bytes / 2**30:.2f} GiB at the peak")
    if record.best is not None and record.best.value is not None:
        best = record.best
        grid.add_row("best", f"{best.monitor} {number(best.value)} at step {best.step:,} of {cost.steps:,}")
    for name, text in findings(record):
        grid.add_row(name, Text(text))
    return grid


def _consumed(name: str, own: dict[str, int]) -> str:
    return f"{name} {own['rows']:,} rows, {own['supervised_tokens']:,} supervised tokens"


def _speed(cost: Cost) -> str:
    tokens, inputs = cost.supervised_tokens_per_second, cost.input_tokens / max(cost.training_seconds, 1e-9)
    return (
        f"{tokens:,.0f} supervised tokens/s, {inputs:,.0f} input tokens/s, {cost.examples_per_second:,.1f} examples/s"
    )
