"""The figures of ``results/verdict.json`` as Markdown, put between two marks of README.md.

python benchmarks/verdict_page.py
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
START, END = "<!-- verdict.json -->", "<!-- end of verdict.json -->"


def rate(own: dict[str, Any], digits: int = 1) -> str:
    """A share in per cent with its interval and counts."""
    if not own["of"]:
        return "no such run"
    share, low, high = (f"{100 * own[key]:.{digits}f}" for key in ("rate", "low", "high"))
    return f"{share} % ({low} to {high}; {own['count']:,} of {own['of']:,})"


def rows(found: dict[str, Any]) -> dict[str, str]:
    """Of one collection, what stands beside each name."""
    under, during = found["underfitting"], found["during the run"]
    oracle = found["an oracle would hit"]
    return {
        "false alarms": rate(found["false alarms"]),
        "hits": rate(found["hits"]),
        "hits, of effects of 3 and more": rate(found["hits that rows could show"]),
        "hits by the letter (with losses under 1 %)": rate(found["hits by the letter"]),
        "an oracle would hit": "-" if oracle is None else f"{100 * oracle:.1f} %",
        "called overfitting where less than 1 % is lost": rate(found["called overfitting where less than 1 % is lost"]),
        "undecided": rate(found["undecided"]),
        "underfitting found": rate(under["found"]),
        "healthy not called underfitting": rate(under["healthy not called so"]),
        "during the run: runs": f"{during['runs']:,}",
        "hits after the true minimum": rate(during["hits"]),
        "delay behind the true minimum, median": delay(during),
        "false alarms at any evaluation": rate(during["false alarms at any evaluation"]),
    }


def delay(during: dict[str, Any]) -> str:
    if during["median delay in evaluations"] is None:
        return "-"
    share = 100 * during["median delay as a share of the run"]
    return (
        f"{during['median delay in evaluations']:g} evaluations, {during['median delay in steps']:g} steps, "
        f"{share:.0f} % of the run"
    )


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def page(content: dict[str, Any]) -> str:
    """Tables of the simulated and the real runs, whichever there are."""
    kinds = [kind for kind in ("simulated", "real") if kind in content]
    found = {kind: rows(content[kind]) for kind in kinds}
    heads = [f"{kind}, {content[kind]['runs']:,} runs" for kind in kinds]
    lines = [line("", *heads), "|---" * (len(kinds) + 1) + "|"]
    lines += [line(name, *(found[kind][name] for kind in kinds)) for name in found[kinds[0]]]
    labels = "healthy / overfitting / underfitting / undecided"
    for kind in kinds:
        lines += ["", line(kind, "false alarms", "hits", "under 1 % lost", labels), "|---" * 5 + "|"]
        for group, own in content[kind]["by group"].items():
            counts = " / ".join(f"{count:,}" for count in own["labels"].values())
            lines.append(line(group, rate(own["false alarms"]), rate(own["hits"]), str(own["trifling"]), counts))
        lines += ["", line(f"{kind}, effect", "hits"), "|---|---|"]
        lines += [line(band, rate(own)) for band, own in content[kind]["hits by effect"].items()]
    return "\n".join(lines)


def main() -> None:
    content = json.loads((HERE / "results" / "verdict.json").read_text())
    readme = HERE / "README.md"
    text = readme.read_text()
    before, rest = text.split(START)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{START}\n\n{page(content)}\n\n{END}{after}")


if __name__ == "__main__":
    main()
