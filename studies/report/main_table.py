"""The table of a study, once for the page, for Markdown and for LaTeX."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..analysis.analysis import Analysis, ArmRow, Contrast
from .cleaned import one_line
from .numbers import MISSING, decimals, interval, probability, shown

NAMED_FACTORS = 2
"""Most varied factors whose levels are read in an arm's name; above, each has a column."""
DAGGER = "†"


@dataclass(frozen=True)
class Column:
    """A column.

    Args:
        title: above it.
        text: whether it holds words rather than numbers.
        printed: whether papers show it.
    """

    title: str
    text: bool = False
    printed: bool = True


@dataclass(frozen=True)
class TableRow:
    """One arm.

    Args:
        cells: a text for each column.
        bold: best, or not significantly worse.
        look: word of the conclusion, for a mark; empty where there is none.
        strong: place of the cell that is set in bold with ``bold``.
    """

    cells: list[str]
    bold: bool
    look: str
    strong: int


@dataclass(frozen=True)
class MainTable:
    """All of it.

    Args:
        columns: their titles.
        rows: in the order of the design.
        notes: what the signs mean.
        tested: columns up to the conclusion; those behind it are exploratory scores.
        heads: columns in front that say which arm it is.
    """

    columns: list[Column]
    rows: list[TableRow]
    notes: list[str]
    tested: int
    heads: int


def main_table(analysis: Analysis) -> MainTable:
    """Mean with interval, n, difference with interval, adjusted p, what follows, then the other scores."""
    heads = _heads(analysis)
    found = {c.arm: c for c in analysis.contrasts if c.kind == "reference" and c.stage == "report"}
    references = list(dict.fromkeys(c.reference for c in found.values()))
    columns = [Column(title, text=True) for title, _ in heads]
    columns += [Column("n"), Column(one_line(analysis.scores[0].title))]
    several = len(references) > 1
    columns += [Column("compared with", text=True, printed=False)] if several else []
    against = "difference" if several or not references else f"difference to {one_line(references[0])}"
    columns += [Column(against), Column("adjusted p"), Column("conclusion", text=True, printed=False)]
    tested = len(columns)
    columns += [Column(one_line(score.title)) for score in analysis.scores[1:]]
    digits = {s.key: decimals(a.scores[s.key] for a in analysis.arms if s.key in a.scores) for s in analysis.scores}
    change = decimals(c.difference for c in found.values() if c.difference is not None)
    rows = []
    for arm in analysis.arms:
        own = [text(arm) for _, text in heads]
        own += [_n(arm), shown(analysis.scores[0], arm, digits[analysis.scores[0].key])]
        own += _compared(found.get(arm.name), arm, change, references)
        own += [shown(score, arm, digits[score.key]) for score in analysis.scores[1:]]
        look = found[arm.name].conclusion if arm.name in found else ""
        rows.append(TableRow(own, arm.bold, look, len(heads) + 1))
    return MainTable(columns, rows, _notes(analysis), tested, len(heads))


def untuned(analysis: Analysis) -> set[str]:
    """Arms without a search in a study that has searches."""
    tuned = {search.arm for search in analysis.searches}
    return {arm.name for arm in analysis.arms if tuned and arm.name not in tuned}


def _heads(analysis: Analysis) -> list[tuple[str, Callable[[ArmRow], str]]]:
    """Columns that say which arm it is."""
    factors = list(dict.fromkeys(name for arm in analysis.arms for name in arm.levels))
    varied = [f for f in factors if len({arm.levels.get(f) for arm in analysis.arms}) > 1]
    daggers = untuned(analysis)

    def marked(text: str, arm: ArmRow) -> str:
        signs = (" (baseline)" if arm.baseline else "") + (" (placebo)" if arm.placebo else "")
        return f"{one_line(text)}{signs}{DAGGER if arm.name in daggers else ''}"

    if len(varied) <= NAMED_FACTORS:
        return [("arm", lambda arm: marked(arm.name, arm))]
    first = (one_line(varied[0]), lambda arm: marked(arm.levels.get(varied[0], MISSING), arm))
    return [first, *((one_line(f), lambda arm, f=f: one_line(arm.levels.get(f, MISSING))) for f in varied[1:])]


def _n(arm: ArmRow) -> str:
    return str(arm.done) if arm.done == arm.planned else f"{arm.done} of {arm.planned}"


def _compared(contrast: Contrast | None, arm: ArmRow, digits: int, references: Sequence[str]) -> list[str]:
    several = len(references) > 1
    if contrast is None:
        word = "reference" if arm.name in references else ""
        return [MISSING] * (2 + several) + [word]
    against = [one_line(contrast.reference)] if several else []
    return [*against, interval(contrast.difference, digits), probability(contrast.p_adjusted), contrast.conclusion]


def _notes(analysis: Analysis) -> list[str]:
    """What the signs mean; the caption of a paper's table."""
    counts = sorted({arm.done for arm in analysis.arms})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}" if counts else "no"
    title = one_line(analysis.scores[0].title)
    notes = [f"{title}: mean ± 95 % t interval over n = {seeds} seeds."]
    if analysis.contrasts:
        notes.append(
            "Differences are paired by seed, with 95 % t intervals; p of the paired t test"
            + (f", adjusted by {one_line(analysis.correction)}." if analysis.correction else ".")
        )
        notes.append("Bold: the best arm and every arm that is not significantly worse.")
    notes.append("Other columns are exploratory and bear no test.") if len(analysis.scores) > 1 else None
    notes.append(f"Matched: {one_line(analysis.match)}.") if analysis.match else None
    if untuned(analysis):
        notes.append(f"{DAGGER} not tuned.")
    elif not analysis.searches:
        notes.append("No arm was tuned.")
    if _holes(analysis.arms):
        notes.append(f"{MISSING} missing; n of m: cells that are done of those planned.")
    return notes


def _holes(arms: Sequence[ArmRow]) -> bool:
    return any(arm.done != arm.planned or arm.missing for arm in arms)
