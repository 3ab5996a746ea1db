"""How many rows lose tokens."""

from collections.abc import Iterable

from ...contracts.finding import Finding, ok
from .check import Check, Subject

SOME, ALL = 0.1, 0.999


class Truncation(Check):
    section = "data"

    def look(self, subject: Subject) -> Iterable[Finding]:
        for split in ("train", "validation"):
            for where, audit in subject.audits(split):
                share, needed = audit["truncated"], audit["length"]
                seen = f"{share:.1%} of the rows lose tokens (p50 {needed['p50']:,}, p99 {needed['p99']:,} tokens)"
                name = f"rows cut, {where}"
                cure = (
                    f"Set data.init_args.context to {needed['p99']} or as much as the base takes, or shorten the rows."
                )
                if share >= ALL and audit["rows"]:
                    yield Finding(name, "error", f"every row loses tokens (the median has {needed['p50']:,})", cure)
                elif share > SOME:
                    yield Finding(name, "warning", seen, cure)
                else:
                    yield ok(name, seen)
