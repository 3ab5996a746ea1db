"""The verdict on a card: in words, with what says so and what to try."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..contracts.verdict import Evidence, Label, Verdict

STYLES: dict[Label, str] = {
    "overfitting": "bold red",
    "underfitting": "bold yellow",
    "healthy": "bold green",
    "undecided": "bold",
}


def verdict_panel(verdict: Verdict, most: int | None = None) -> Group:
    """Sentence, evidence, missing evidence with its reason, remedies with their arguments in one piece each.

    Args:
        verdict: to show.
        most: pieces of evidence, the first ones; the others are named.
    """
    parts: list[RenderableType] = [Padding(_sentence(verdict), (0, 2))]
    if verdict.evidence or verdict.missing:
        parts.append(Padding(_evidence(verdict, most), (0, 4)))
    if most is not None and (rest := [one.name for one in verdict.evidence[most:]]):
        parts.append(Padding(Text(f"In record.json too: {', '.join(rest)}.", style="dim"), (0, 4)))
    against = f"against {verdict.label}" if verdict.label in ("overfitting", "underfitting") else "try"
    for remedy in verdict.remedies:
        parts.append(Padding(Text(f"→ {against}: {remedy.what}"), (0, 2)))
        if remedy.override:
            # Never broken by us: what the terminal wraps can still be copied in one piece.
            parts.append(Text(f"    {remedy.override}", style="cyan", no_wrap=True, overflow="ignore"))
    return Group(*parts)


def _sentence(verdict: Verdict) -> Text:
    text = Text(verdict.sentence)
    if verdict.sentence.lower().startswith(verdict.label):
        text.stylize(STYLES[verdict.label], 0, len(verdict.label))
    return text


def _evidence(verdict: Verdict, most: int | None) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(style="dim")
    for one in verdict.evidence[:most]:
        grid.add_row(Text(one.name), f"{one.value:.3f}", _interval(one), Text(one.says))
    for name, reason in verdict.missing.items():
        grid.add_row(Text(name), "–", "", Text(reason))
    return grid


def _interval(one: Evidence) -> Text:
    return Text("" if one.low is None or one.high is None else f"[{one.low:.3f}, {one.high:.3f}]")
