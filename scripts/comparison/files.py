"""A comparison as a file: JSON, Markdown or CSV."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

from ...contracts.config_diff import CLASS_PARTS
from ...contracts.inert import in_csv, in_markdown
from ...contracts.record import Record
from .compared_run import ComparedRun
from .comparison import Comparison
from .sheet import Sheet
from .sheets import differing


def as_json(comparison: Comparison) -> str:
    return json.dumps(comparison.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_markdown(comparison: Comparison) -> str:
    """What the terminal shows, as tables of a page; whatever a run is called stays text."""
    parts = ["# finelab compare", ""]
    parts += [
        f"- **{run.letter}** {in_markdown(str(run.directory))} ({in_markdown(run.state)})" for run in comparison.runs
    ]
    for sheet in comparison.sheets():
        parts += [
            "",
            f"## {in_markdown(sheet.title)}",
            "",
            *table(sheet),
            *(f"\n{in_markdown(note)}" for note in sheet.notes),
        ]
    parts += ["", "## What this can mean", "", *(f"- {in_markdown(sentence)}" for sentence in comparison.said)]
    return "\n".join(parts) + "\n"


def table(sheet: Sheet) -> list[str]:
    if not sheet.rows:
        return []
    lines = [["", *sheet.columns], ["---"] + ["---:"] * len(sheet.columns)]
    lines += [[row.heading, *row.cells] for row in sheet.rows]
    return [
        f"| {' | '.join(cell if index == 1 else in_markdown(cell) for cell in line)} |"
        for index, line in enumerate(lines)
    ]


def as_csv(comparison: Comparison) -> str:
    """A line for each run, numbers whole; text that a spreadsheet would run as a formula starts with an apostrophe."""
    rows = [flat(run) for run in comparison.runs]
    for key, cells in differing(comparison.runs)[0].items():
        for row, cell in zip(rows, cells, strict=True):
            row[CLASS_PARTS.sub("", key)] = cell
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(in_csv, names))
    writer.writerows([in_csv(row.get(name)) for name in names] for row in rows)
    return text.getvalue()


def flat(run: ComparedRun) -> dict[str, Any]:
    """One run in named cells; empty where there is no value."""
    own = {"run": run.letter, "directory": str(run.directory), "status": run.state}
    return own if run.record is None else own | of_record(run.record)


def of_record(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {"base": record.base, "adapter": record.adapter.get("name")}
    found |= {f"seeds.{name}": seed for name, seed in record.seeds.items()}
    for split, result in record.metrics.items():
        for reference, metrics in result.before.items():
            found |= {f"{split} {name} of {reference}": value for name, value in metrics.items()}
        found |= {f"{split} {name}": value for name, value in result.after.items()}
    if record.verdict is not None:
        verdict = record.verdict
        found |= {"verdict": verdict.label, "verdict began": verdict.began, "given away": verdict.cost}
    if record.best is not None:
        found["best step"] = record.best.step
    found |= {name: getattr(record.cost, name) for name in ("steps", "training_seconds", "total_seconds")}
    found |= {name: getattr(record.cost, name) for name in ("supervised_tokens", "peak_memory_bytes")}
    return found | {"trained parameters": record.parameters.get("trainable")}


WRITERS: dict[str, Callable[[Comparison], str]] = {".json": as_json, ".md": as_markdown, ".csv": as_csv}
