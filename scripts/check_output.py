"""What a check found: a table on a terminal, lines elsewhere, and JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..callbacks.checks.check import Section
from ..callbacks.decoded_example import DecodedExample
from ..contracts.files import write_atomically
from ..contracts.finding import Finding, Level, worst

MARKS: dict[Level, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "warning": ("warning", "bold yellow"),
    "error": ("ERROR", "bold red"),
}
Sections = Mapping[Section, Sequence[Finding]]
LONG = 800
"""Characters of an example that are shown."""


def show_example(example: DecodedExample) -> None:
    print(f"One example, {example.tokens} tokens, targets between « and » ({example.supervised}):")
    text = middle(example.marked())
    if not sys.stdout.isatty():
        print(f"  {text}\n", flush=True)
        return
    console, shown = Console(), Text(text)
    shown.highlight_regex("«[^»]*»", "bold green")
    shown.highlight_regex(r"<[|/]?[\w|]+[|]?>|\[[A-Z]{2,}\]", "cyan")
    console.print(Padding(shown, (0, 2, 1, 2)))


def show_findings(sections: Sections, seconds: float) -> None:
    findings = [finding for found in sections.values() for finding in found]
    if sys.stdout.isatty():
        Console().print(table(sections))
    else:
        for finding in findings:
            print(f"{MARKS[finding.level][0]:<8} {finding.name}: {finding.seen}")
            if finding.cure:
                print(f"{'':<8}   -> {finding.cure}")
    print(f"{summary(findings)} ({seconds:.1f} s).", flush=True)


def table(sections: Sections) -> Table:
    shown = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column(no_wrap=True)
    shown.add_column(style="bold", min_width=14, max_width=22)
    shown.add_column(ratio=1)
    for name, findings in sections.items():
        if findings:
            shown.add_row("", Text(name, "cyan"), "")
        for finding in findings:
            mark, style = MARKS[finding.level]
            seen = Text(finding.seen)
            if finding.cure:
                seen.append(f"\n-> {finding.cure}", style.removeprefix("bold "))
            shown.add_row(Text(mark, style), finding.name, seen)
    return shown


def summary(findings: Sequence[Finding]) -> str:
    counts = {level: sum(finding.level == level for finding in findings) for level in MARKS}
    said = ", ".join(
        f"{count} {level}{'s' * (count != 1)}" for level, count in counts.items() if level != "ok" and count
    )
    what = {"ok": "Ready to train", "warning": "Ready to train, with a look at the warnings", "error": "Not ready"}
    return f"{what[worst(findings)]}: {len(findings)} findings" + (f", {said}" if said else ", all ok")


def write_findings(findings: Sequence[Finding], example: DecodedExample | None, path: Path) -> None:
    """As JSON, whole or not at all."""
    content = {
        "level": worst(findings),
        "findings": [asdict(finding) for finding in findings],
        "example": None if example is None else example.marked(),
    }
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def middle(text: str) -> str:
    """Its beginning and its end, where the targets mostly stand."""
    return text if len(text) <= LONG else f"{text[: LONG // 2]} [...] {text[-LONG // 2 :]}"
