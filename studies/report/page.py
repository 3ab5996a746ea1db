"""The report as one page that needs nothing else."""

from pathlib import Path
from typing import Any

from ..analysis.analysis import Analysis, Sample
from .cleaned import one_line
from .drawing import INKS
from .figures import Figures
from .forest import heading, label
from .main_table import MainTable
from .statistics import statistics
from .svg import FONT, INSIDE, as_svg, colours
from .tuning import setting_text

MARKS = {
    "better": ("▲", "green"),
    "worse": ("▼", "vermilion"),
    "equivalent": ("■", "blue"),
    "undecided": ("○", "dim"),
    "not powered": ("◇", "dim"),
    "not paired": ("✕", "dim"),
    "missing": ("✕", "dim"),
}
"""Signs and colours of the conclusions, as the figures have them."""
LONGEST, MOST_FAILED, MOST_SAMPLES = 2000, 200, 40


def as_page(analysis: Analysis, table: MainTable, figures: Figures) -> str:
    """HTML without script, link or anything from elsewhere; all text is escaped."""
    import jinja2
    from markupsafe import Markup

    text = Path(__file__).with_name("page.jinja").read_text(encoding="utf-8")
    room = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    room.filters |= {"line": line, "cut": cut, "label": label, "setting": setting_text}
    room.filters["heading"] = lambda contrast: heading(contrast, analysis)
    room.filters["svg"] = lambda drawing: Markup(as_svg(drawing))
    samples = analysis.samples[:MOST_SAMPLES]
    content: dict[str, Any] = {
        "a": analysis, "table": table, "f": figures, "statistics": statistics(analysis.contrasts), "looks": MARKS,
        "counts": _counts(analysis), "unfinished": _unfinished(analysis), "gaps": _gaps(analysis),
        "samples": _by_title(samples), "samples_left": len(analysis.samples) - len(samples), "most": MOST_FAILED,
        "light": Markup(colours(False)), "dark": Markup(colours(True)), "inks": list(INKS), "font": Markup(FONT),
        "figures": Markup(INSIDE),
    }  # fmt: skip
    return room.from_string(text).render(content)


def line(text: str, longest: int = LONGEST) -> str:
    """In one line, the rest counted."""
    return cut(one_line(str(text)), longest)


def cut(text: str, longest: int = LONGEST) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… ({len(text) - longest:,} more characters, see analysis.json)"


def _counts(analysis: Analysis) -> str:
    planned, done = (
        sum(getattr(arm, name) for arm in (*analysis.arms, *analysis.confirmed)) for name in ("planned", "done")
    )
    cells = f"{done} cells" if done == planned else f"{done} of {planned} cells done"
    match = f"; {one_line(analysis.match)}" if analysis.match else ""
    return cut(f"{len(analysis.arms)} arms, {cells}; {one_line(analysis.scores[0].title)}{match}", 400)


def _unfinished(analysis: Analysis) -> str:
    states: dict[str, int] = {}
    for cell in analysis.unfinished:
        states[cell.state] = states.get(cell.state, 0) + 1
    return (
        ", ".join(f"{count} {'cell' if count == 1 else 'cells'} {one_line(state)}" for state, count in states.items())
        or "cells are missing"
    )


def _gaps(analysis: Analysis) -> list[str]:
    """Scores that an arm lacks, and why."""
    why: dict[tuple[str, str], list[str]] = {}
    for arm in analysis.arms:
        for key, reason in arm.missing.items():
            why.setdefault((key, reason), []).append(one_line(arm.name))
    return [f"{key} is missing of {', '.join(arms)}: {reason}" for (key, reason), arms in why.items()]


def _by_title(samples: list[Sample]) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.title, []).append(sample)
    return found
