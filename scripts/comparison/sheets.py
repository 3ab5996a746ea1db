"""The tables of a comparison: metrics, verdict and cost, settings, pairing, and the same rows one by one."""

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from ...callbacks.advice import shown_split
from ...contracts.config_diff import ABSENT, CLASS_PARTS, changes, shown
from ...contracts.figures import duration, number, signed
from ...contracts.inert import printable
from ...contracts.metrics import TITLES, in_order, strongest_reference, titled
from ...contracts.record import Record, SplitResult
from .compared_run import ComparedRun
from .paired_difference import PairedDifference
from .paired_rows import PairedRows
from .sheet import Row, Sheet

NONE = "–"
LONGEST = 40
MODULE = re.compile(r"\b(?:[a-z]\w*\.)+(?=[A-Z])")
"""What stands before the name of a class."""
HARMLESS_SHOWN = 6


def split_to_show(runs: Sequence[ComparedRun]) -> str | None:
    """The test split where every run that got to its end has read it, else validation; None where nobody has either."""
    measured = [run.record for run in runs if run.record is not None and run.record.metrics]
    shared = [split for split in ("test", "validation") if all(results_of(record, split) for record in measured)]
    return shared[0] if shared and measured else next(filter(None, map(shown_split, measured)), None)


def results_of(record: Record | None, split: str) -> SplitResult | None:
    found = record.metrics.get(split) if record is not None else None
    return found if found is not None and found.after else None


def scores(runs: Sequence[ComparedRun], split: str, comparable: Collection[str]) -> Sheet:
    """Before, after, what was gained, and the difference to the first run of those that can be compared with it."""
    results = [results_of(run.record, split) for run in runs]
    found = [result for result in results if result is not None]
    names = in_order({name for result in found for name in (*result.after, *result.missing)})
    first, rows = results[0], []
    bests = [run.record.best for run in runs if run.record is not None]
    for name in names:
        title = titled(name, *bests)
        afters = [result.after.get(name) if result is not None else None for result in results]
        befores = [before(result, name) if result is not None else None for result in results]
        rows.append(Row(title, [number(value) for value in befores], "before"))
        rows.append(Row(title, [number(value) for value in afters], "tuned"))
        gains = [signed(minus(a, b), a or 0.0) for a, b in zip(afters, befores, strict=True)]
        rows.append(Row(title, gains, "gain"))
        start = first.after.get(name) if first is not None else None
        others = [value if run.letter in comparable else None for run, value in zip(runs[1:], afters[1:], strict=True)]
        against = [signed(minus(value, start), value or 0.0) for value in others]
        rows.append(Row(title, [NONE, *against], f"− {runs[0].letter}"))
    counts = sorted({result.rows for result in found})
    heading = f"{split} split, {' or '.join(f'{count:,}' for count in counts)} rows"
    return Sheet(heading, [run.letter for run in runs], rows, [*_missing(runs, results), *_unread(runs, split)])


def before(result: SplitResult, name: str) -> float | None:
    reference = strongest_reference(result.before)
    return result.before[reference].get(name) if reference is not None else None


def minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _missing(runs: Sequence[ComparedRun], results: Sequence[SplitResult | None]) -> list[str]:
    """Why a cell has no number, the runs of one reason together."""
    reasons: dict[str, list[str]] = {}
    for run, result in zip(runs, results, strict=True):
        for name, reason in result.missing.items() if result is not None else ():
            reasons.setdefault(f"{TITLES.get(name, name)}: {reason}", []).append(run.letter)
        if result is None:
            reasons.setdefault("no metrics of the tuned model", []).append(run.letter)
    return [f"{', '.join(letters)}: {reason}." for reason, letters in reasons.items()]


def _unread(runs: Sequence[ComparedRun], split: str) -> list[str]:
    readers = [run.letter for run in runs if results_of(run.record, "test")]
    if split == "test" or not readers:
        return []
    return [f"Only {', '.join(readers)} read the test split (evaluate_test: true), so that validation is shown."]


def verdict_and_cost(runs: Sequence[ComparedRun]) -> Sheet:
    """What the runs concluded about their fit, and what they took."""
    lines: dict[str, Callable[[Record], str]] = {
        "verdict": lambda r: r.verdict.label if r.verdict is not None else NONE,
        "began at step": lambda r: f"{r.verdict.began:,}" if r.verdict and r.verdict.began is not None else NONE,
        "given away": lambda r: number(r.verdict.cost) if r.verdict is not None else NONE,
        "best step": lambda r: f"{r.best.step:,} of {r.cost.steps:,}" if r.best is not None else NONE,
        "training time": lambda r: duration(r.cost.training_seconds),
        "whole time": lambda r: duration(r.cost.total_seconds),
        "supervised tokens": lambda r: f"{r.cost.supervised_tokens:,}",
        "tokens/s": lambda r: f"{r.cost.supervised_tokens_per_second:,.0f}",
        "peak memory (GiB)": lambda r: f"{r.cost.peak_memory_bytes / 2**30:.2f}",
        "trained parameters": lambda r: f"{r.parameters['trainable']:,}" if "trainable" in r.parameters else NONE,
        "adapter": lambda r: str(r.adapter.get("name", NONE)),
    }
    rows = [Row("status", [run.state for run in runs])]
    for label, cell in lines.items():
        rows.append(Row(label, [NONE if run.record is None else cell(run.record) for run in runs]))
    return Sheet("verdict and cost", [run.letter for run in runs], rows)


def settings(runs: Sequence[ComparedRun], shorten: bool = True) -> Sheet:
    """Every key that changes a number and is not the same in all runs."""
    values, harmless = differing(runs)
    rows = []
    for key, cells in values.items():
        cells = [printable(cell) for cell in cells]
        rows.append(Row(CLASS_PARTS.sub("", key), apart(cells) if shorten else cells))
    notes = []
    if harmless:
        more = f" and {len(harmless) - HARMLESS_SHOWN} more" if len(harmless) > HARMLESS_SHOWN else ""
        notes.append(f"Other keys that differ change no number: {', '.join(harmless[:HARMLESS_SHOWN])}{more}.")
    if without := [run.letter for run in runs if run.config is None]:
        notes.append(f"{', '.join(without)}: there is no config.yaml.")
    if not rows and not without:
        notes.insert(0, "No key that changes a number differs.")
    return Sheet("settings that differ", [run.letter for run in runs], rows, notes)


def differing(runs: Sequence[ComparedRun]) -> tuple[dict[str, list[str]], list[str]]:
    """Key -> its value in every run, and the keys that differ and change no number."""
    known = [run.config for run in runs if run.config is not None]
    found = [change for other in known[1:] for change in changes(known[0], other)]
    keys = dict.fromkeys(change.key for change in found if change.changes_numbers)
    harmless = dict.fromkeys(change.key for change in found if not change.changes_numbers)
    at = {key: [NONE if run.config is None else shown(value_at(run.config, key)) for run in runs] for key in keys}
    return at, [CLASS_PARTS.sub("", key) for key in harmless if not key.startswith("run.")]


def value_at(config: Any, key: str) -> Any:
    """The value of a dotted key; ABSENT where this configuration has none."""
    for name in key.split("."):
        if isinstance(config, list):
            config = dict(enumerate(config))
            config = config.get(int(name), ABSENT) if name.isdecimal() else ABSENT
        else:
            config = config.get(name, ABSENT) if isinstance(config, dict) else ABSENT
    return config


def apart(cells: list[str]) -> list[str]:
    """Classes by their names alone and long values shortened, as long as what differs still looks different."""
    names = [MODULE.sub("", cell) for cell in cells]
    cells = names if len(set(names)) == len(set(cells)) else cells
    short = [cell if len(cell) <= LONGEST else f"{cell[: LONGEST // 2]}…{cell[-LONGEST // 2 + 1 :]}" for cell in cells]
    if len(set(short)) == len(set(cells)):
        return short
    same = next((i for i, letters in enumerate(zip(*cells, strict=False)) if len(set(letters)) > 1), 0)
    return [cell if len(cell) <= LONGEST else f"…{cell[max(same - 4, 0) :][: LONGEST - 2]}…" for cell in cells]


def same_rows(runs: Sequence[ComparedRun], found: dict[str, PairedRows]) -> Sheet:
    """Differences to the first run with their intervals; the sign says which way."""
    by_letter = {letter: {each.metric: each for each in paired.differences} for letter, paired in found.items()}
    metrics = in_order({metric for each in by_letter.values() for metric in each})
    letters = [run.letter for run in runs[1:]]
    rows = []
    for name in metrics:
        pairs = [by_letter.get(letter, {}).get(name) for letter in letters]
        rows.append(Row(titled(name), [NONE if pair is None else interval(pair) for pair in pairs]))
    notes = [f"{letter}: {note}." for letter, paired in found.items() for note in paired.notes]
    return Sheet(f"difference to {runs[0].letter} on the same rows, 95 %", letters, rows, notes)


def interval(pair: PairedDifference) -> str:
    return f"{pair.difference:+.4f} [{pair.low:+.4f}, {pair.high:+.4f}]"
