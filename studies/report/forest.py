"""The figures of differences: arms less their references, and arms over several data sets."""

from collections.abc import Sequence

from ..analysis.analysis import Analysis, Contrast
from .cleaned import one_line
from .drawing import Drawing
from .intervals import Axis, Group, IntervalRow, Look, interval_plot
from .numbers import decimals, interval, probability

LOOKS: dict[str, Look] = {
    "better": Look("up", "green"),
    "worse": Look("down", "vermilion"),
    "equivalent": Look("square", "blue"),
    "undecided": Look("circle", "dim", hollow=True),
    "not powered": Look("diamond", "dim", hollow=True),
    "not paired": Look("cross", "dim"),
    "missing": Look("cross", "dim"),
    "screening": Look("bar", "dim"),
}
SCREENING = "screening"
ENDS = {"max": ("worse", "better"), "min": ("better", "worse"), None: ("", "")}


def forest(analysis: Analysis) -> Drawing | None:
    """Every difference with its interval, the best of a group first; None where there is none."""
    if not any(c.difference for c in analysis.contrasts):
        return None
    digits = decimals(c.difference for c in analysis.contrasts if c.difference)
    groups = [
        Group(heading, [_row(c, digits, claims(c, analysis)) for c in _best_first(found, analysis.scores[0].mode)])
        for heading, found in grouped(analysis).items()
    ]
    drawn = [c for c in analysis.contrasts if c.difference]
    words = {c.conclusion if claims(c, analysis) else SCREENING for c in drawn}
    seen = [name for name in LOOKS if name in words]
    title = one_line(analysis.scores[0].title)
    axis = Axis(f"difference in {title}, with its 95 % interval", True, analysis.margin, ENDS[analysis.scores[0].mode],
                tuple((LOOKS[name], name) for name in seen))  # fmt: skip
    description = f"Differences with 95 % intervals. {said(analysis, digits)}"
    return interval_plot("forest", "Paired differences to the reference", description, groups, axis)


def grouped(analysis: Analysis) -> dict[str, list[Contrast]]:
    """By what they are compared with, in their order; what claims comes before what was only screened."""
    found: dict[str, list[Contrast]] = {}
    for contrast in sorted(analysis.contrasts, key=lambda c: not claims(c, analysis)):
        found.setdefault(heading(contrast, analysis), []).append(contrast)
    return found


def claims(contrast: Contrast, analysis: Analysis) -> bool:
    """Whether a comparison may be read as a result: not one of the screening before a confirmation."""
    return contrast.stage == "confirm" or not analysis.confirms


def heading(contrast: Contrast, analysis: Analysis) -> str:
    """What a comparison is with."""
    words = "minus its placebo" if contrast.kind == "placebo" else f"minus {one_line(contrast.reference)}"
    if analysis.confirms:
        return f"{words}, {'on fresh seeds' if contrast.stage == 'confirm' else SCREENING}"
    return words


def label(contrast: Contrast) -> str:
    """Which arm, and on which data set."""
    return one_line(contrast.arm) + ("" if contrast.task is None else f" on {one_line(contrast.task)}")


def said(analysis: Analysis, digits: int) -> str:
    """For whoever does not see the figure; no more than the first twenty."""
    contrasts = [contrast for some in grouped(analysis).values() for contrast in some]
    found = [
        f"{label(c)}: {interval(c.difference, digits)}, {c.conclusion if claims(c, analysis) else SCREENING}"
        for c in contrasts[:20]
    ]
    more = f"; and {len(contrasts) - 20} more" if len(contrasts) > 20 else ""
    return f"{'; '.join(found)}{more}."


def by_task(analysis: Analysis) -> Drawing | None:
    """An arm's difference on every data set, and over all of them."""
    if not analysis.tasks:
        return None
    every = [e for task in analysis.tasks for e in (*task.by_task.values(), task.iqm)]
    digits = decimals(every)
    groups = []
    for task in analysis.tasks:
        rows = [IntervalRow(one_line(name), e, Look("circle", "sky"), interval(e, digits))
                for name, e in task.by_task.items()]  # fmt: skip
        counts = task.stage == "confirm" or not analysis.confirms
        p = "" if task.p_adjusted is None or not counts else f"  p={probability(task.p_adjusted)}".replace("=<", "<")
        all_of = f"{interval(task.iqm, digits)}{p}"
        rows.append(IntervalRow("all: interquartile mean", task.iqm, Look("diamond", "blue"), all_of, strong=True))
        stage = "" if not analysis.confirms else f", {'on fresh seeds' if counts else SCREENING}"
        groups.append(Group(f"{one_line(task.arm)} minus {one_line(task.reference)}{stage}", rows))
    scaled = any(task.standardized for task in analysis.tasks)
    axis = Axis("difference; over all in standard deviations of a data set" if scaled else "difference", True,
                ends=ENDS[analysis.scores[0].mode])  # fmt: skip
    description = " ".join(one_line(task.sentence) for task in analysis.tasks)
    return interval_plot("tasks", "Differences by data set", description, groups, axis)


def _row(contrast: Contrast, digits: int, claims: bool) -> IntervalRow:
    p = "" if contrast.p_adjusted is None or not claims else f"  p={probability(contrast.p_adjusted)}"
    note = f"{interval(contrast.difference, digits)}{p}".replace("p=<", "p<")
    if contrast.difference is None:
        note = contrast.conclusion
    look = LOOKS[contrast.conclusion if claims else SCREENING]
    return IntervalRow(label(contrast), contrast.difference, look, note,
                       tuple(pair.value for pair in contrast.pairs))  # fmt: skip


def _best_first(contrasts: Sequence[Contrast], mode: str | None) -> list[Contrast]:
    sign = 1 if mode == "min" else -1
    return sorted(contrasts, key=lambda c: (c.difference is None, sign * c.difference.value if c.difference else 0.0))
