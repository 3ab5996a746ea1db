"""Whether every class has rows."""

from collections.abc import Iterable

from ...contracts.finding import Finding, ok
from .check import Check, Subject

NAMED = 5
RARE = 0.01


class LabelBalance(Check):
    section = "data"

    def look(self, subject: Subject) -> Iterable[Finding]:
        for split in ("train", "validation"):
            for where, audit in subject.audits(split):
                if "labels" in audit:
                    yield balance(f"labels, {where}", audit["labels"])


def balance(name: str, counts: dict[str, int]) -> Finding:
    if empty := [label for label, count in counts.items() if not count]:
        return Finding(
            name,
            "warning",
            f"{len(empty)} of {len(counts)} classes have no row: {shortened(empty)}",
            "Give the source rows of them, or take them out of data.init_args.template.init_args.names.",
        )
    order = sorted(counts, key=lambda label: counts[label])
    whole = sum(counts.values())
    seen = f"{len(counts)} classes, rarest {order[0]} {counts[order[0]]:,}, most frequent {order[-1]} "
    seen += f"{counts[order[-1]]:,} of {whole:,}"
    if counts[order[0]] < RARE * whole / len(counts):
        return Finding(
            name,
            "warning",
            seen,
            "Accuracy hides rare classes: watch another metric (monitor: val/macro_f1), and add rows of them.",
        )
    return ok(name, seen)


def shortened(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
