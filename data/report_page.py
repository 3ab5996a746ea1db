"""The data report as one static page: no script, no request, everything from the rows escaped."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment

LABELS_DRAWN = 20


@dataclass(frozen=True)
class Bar:
    """One bar of a drawing.

    Args:
        name: what it counts.
        count: how many.
        share: of the longest bar, in percent.
    """

    name: str
    count: int
    share: float


def render_page(report: Mapping[str, Any]) -> str:
    """HTML of a report; one with ``parts`` (name -> report) shows each under its name.

    The report of somebody else's data module, which has other keys, is shown as it is.
    """
    source = Path(__file__).with_name("report_page.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"label_bars": label_bars, "length_bars": length_bars, "context_place": context_place}
    environment.filters |= {"number": lambda value: f"{value:,}", "percent": lambda value: f"{value:.1%}"}
    ours = "parts" in report or "splits" in report
    parts = report.get("parts", {report["name"]: report}) if ours else {}
    other = None if ours else json.dumps(report, indent=1, ensure_ascii=False)
    return environment.from_string(source).render(report=report, parts=parts, other=other)


def label_bars(audit: Mapping[str, Any]) -> list[Bar]:
    """The most frequent classes, and the others together."""
    counts = sorted(audit.get("labels", {}).items(), key=lambda item: -item[1])
    bars, rest = _bars(counts[:LABELS_DRAWN]), counts[LABELS_DRAWN:]
    if rest:
        bars.append(Bar(f"{len(rest)} more labels together", sum(count for _, count in rest), 0.0))
    return bars


def length_bars(audit: Mapping[str, Any]) -> list[Bar]:
    """Bars of the histogram of lengths."""
    width, counts = audit["histogram"]["width"], audit["histogram"]["counts"]
    names = [f"{place * width + 1} to {(place + 1) * width} tokens" for place in range(len(counts))]
    if names:
        names[-1] = f"over {(len(counts) - 1) * width} tokens"
    return _bars(list(zip(names, counts, strict=True)))


def context_place(audit: Mapping[str, Any], context: int) -> float | None:
    """Where the context lies on the histogram, in bars from the left; None beyond it."""
    width, counts = audit["histogram"]["width"], audit["histogram"]["counts"]
    return context / width if counts and context < width * (len(counts) - 1) else None


def _bars(counts: list[tuple[str, int]]) -> list[Bar]:
    longest = max((count for _, count in counts), default=0) or 1
    return [Bar(name, count, 100 * count / longest) for name, count in counts]
