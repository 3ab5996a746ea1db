"""The table of a study, once for the page, for Markdown and for LaTeX."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..analysis.analysis import Analysis, ArmRow, Conclusion, Estimate, Score
from .cleaned import one_line
from .numbers import MISSING, decimals, interval, probability, shown, spread

NAMED_FACTORS = 2
"""Most varied factors whose levels are read in an arm's name; above, each has a column."""
DAGGER = "†"
STAGES = {"report": "screening", "confirm": "fresh seeds"}
SCALED = (
    "(sd): each seed's mean over the data sets, in standard deviations of a data set's scores around their mean, since "
    "they have no common scale."
)
SCREENED = (
    "Screening: what arms were picked by; it claims nothing, and bears neither p nor bold. Claims are of fresh seeds "
    "alone."
)
OVER_TASKS = (
    "Differences are interquartile means over seeds × data sets of the paired differences, each in standard deviations "
    "of its data set's scores, with 95 % bootstrap intervals; p: "
    "the larger of stratified sign flips and the paired t test of the seeds' means"
)


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
class Compared:
    """What a row says of an arm and its reference.

    Args:
        reference: name.
        difference: None where there is none.
        p: adjusted.
        conclusion: in one word.
    """

    reference: str
    difference: Estimate | None
    p: float | None
    conclusion: Conclusion


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
    """Mean with interval, n, difference with interval, adjusted p, what follows, then the other scores.

    Of several data sets a column each, and the difference over all of them. Of a study that confirms, arms on fresh
    seeds first; the others are the screening, of which nothing is claimed.
    """
    heads, primary = _heads(analysis), analysis.scores[0]
    shown_arms = rows_shown(analysis)
    found = _comparisons(analysis)
    references = list(dict.fromkeys(each.reference for each in found.values()))
    columns = [Column(name, text=True) for name, _ in heads]
    columns += [Column("cells", text=True)] if analysis.confirms else []
    columns += [Column("seeds × data sets" if analysis.data_sets else "n")]
    columns += [Column(one_line(name)) for name in analysis.data_sets]
    strong = len(columns)
    columns += [Column(title(primary))]
    several = len(references) > 1
    columns += [Column("compared with", text=True, printed=False)] if several else []
    against = "difference" if several or not references else f"difference to {one_line(references[0])}"
    columns += [Column(against + (" (sd)" if analysis.data_sets else "")), Column("adjusted p")]
    columns += [Column("conclusion", text=True, printed=False)]
    tested = len(columns)
    columns += [Column(title(score)) for score in analysis.scores[1:]]
    digits = {s.key: decimals(a.scores[s.key] for a in shown_arms if s.key in a.scores) for s in analysis.scores}
    change = decimals(each.difference for each in found.values() if each.difference is not None)
    rows = []
    for arm in shown_arms:
        claims = not analysis.confirms or arm.stage == "confirm"
        own = [text(arm) for _, text in heads]
        own += [STAGES[arm.stage]] if analysis.confirms else []
        own += [_n(arm, len(analysis.data_sets)), *_by_task(analysis, arm, shown_arms)]
        own += [shown(primary, arm, digits[primary.key])]
        compared = found.get((arm.name, arm.stage))
        own += _compared(compared, arm, change, references, claims)
        own += [shown(score, arm, digits[score.key]) for score in analysis.scores[1:]]
        look = compared.conclusion if compared is not None and claims else ""
        rows.append(TableRow(own, arm.bold and claims, look, strong))
    return MainTable(columns, rows, _notes(analysis, shown_arms), tested, len(heads) + analysis.confirms)


def rows_shown(analysis: Analysis) -> list[ArmRow]:
    """Arms on fresh seeds where there are such, then those that have none."""
    fresh = {arm.name for arm in analysis.confirmed}
    return [*analysis.confirmed, *(arm for arm in analysis.arms if arm.name not in fresh)]


def _comparisons(analysis: Analysis) -> dict[tuple[str, str], Compared]:
    """Arm and stage -> what it is less its reference; of several data sets, over all of them."""
    if analysis.data_sets:
        return {
            (t.arm, t.stage): Compared(t.reference, t.iqm if t.iqm.n else None, t.p_adjusted, t.conclusion)
            for t in analysis.tasks
        }
    return {
        (c.arm, c.stage): Compared(c.reference, c.difference, c.p_adjusted, c.conclusion)
        for c in analysis.contrasts
        if c.kind == "reference"
    }


def title(score: Score) -> str:
    """In standard deviations, where the data sets have no common scale."""
    return one_line(score.title) + (" (sd)" if score.standardized else "")


def _by_task(analysis: Analysis, arm: ArmRow, among: Sequence[ArmRow]) -> list[str]:
    """The primary score on each data set, on its own scale."""
    key, cells = analysis.scores[0].key, []
    for task in analysis.data_sets:
        every = [found for each in among if (found := each.by_task.get(task, {}).get(key)) is not None]
        cells.append(spread(arm.by_task.get(task, {}).get(key), decimals(every)))
    return cells


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


def _n(arm: ArmRow, data_sets: int) -> str:
    if arm.done != arm.planned:
        return f"{arm.done} of {arm.planned}"
    return f"{arm.done // data_sets} × {data_sets}" if data_sets else str(arm.done)


def _compared(found: Compared | None, arm: ArmRow, digits: int, references: Sequence[str], claims: bool) -> list[str]:
    several = len(references) > 1
    if found is None:
        word = "reference" if arm.name in references and claims else "" if claims else STAGES["report"]
        return [MISSING] * (2 + several) + [word]
    against = [one_line(found.reference)] if several else []
    said = [probability(found.p), found.conclusion] if claims else [MISSING, STAGES["report"]]
    return [*against, interval(found.difference, digits), *said]


def _notes(analysis: Analysis, arms: Sequence[ArmRow]) -> list[str]:
    """What the signs mean; the caption of a paper's table."""
    sets = max(1, len(analysis.data_sets))
    counts = sorted({arm.done // sets for arm in arms})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}" if counts else "no"
    over = f"{seeds} seeds on each of {sets} data sets" if analysis.data_sets else f"n = {seeds} seeds"
    notes = [f"{one_line(analysis.scores[0].title)}: mean ± 95 % t interval over {over}."]
    if analysis.data_sets:
        notes.append(SCALED)
    if analysis.confirms:
        notes.append(SCREENED)
    if analysis.data_sets and analysis.tasks:
        many = f", Holm over {len(analysis.tasks)} arms" if len(analysis.tasks) > 1 else ""
        notes.append(f"{OVER_TASKS}{many}.")
    elif analysis.contrasts:
        adjusted = f"; p: {one_line(analysis.correction)}." if analysis.correction else "."
        notes.append(f"Differences are paired by seed, with 95 % t intervals{adjusted}")
    if analysis.contrasts:
        notes.append("Bold: the best arm and every arm that is not significantly worse.")
    notes.append("Other columns are exploratory and bear no test.") if len(analysis.scores) > 1 else None
    notes.append(f"Matched: {one_line(analysis.match)}.") if analysis.match else None
    if untuned(analysis):
        notes.append(f"{DAGGER} not tuned.")
    elif not analysis.searches:
        notes.append("No arm was tuned.")
    if _holes(arms):
        notes.append(f"{MISSING} missing; n of m: cells that are done of those planned.")
    return notes


def _holes(arms: Sequence[ArmRow]) -> bool:
    return any(arm.done != arm.planned or arm.missing for arm in arms)
