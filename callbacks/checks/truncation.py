"""How many rows lose tokens."""

from collections.abc import Iterable

from ...contracts.data import RehearsalSource
from ...contracts.finding import Finding, ok
from .check import Check, Subject

SOME = 0.25


class Truncation(Check):
    section = "data"

    def look(self, subject: Subject) -> Iterable[Finding]:
        limit = subject.data.tokenizer.limit if isinstance(subject.data, RehearsalSource) else None
        for split in ("train", "validation"):
            for where, audit in subject.audits(split):
                if audit["rows"]:
                    yield cut(f"rows cut, {where}", audit["truncated"], audit["length"], limit)


def cut(name: str, share: float, lengths: dict[str, int], limit: int | None) -> Finding:
    """
    Args:
        name: of the split.
        share: of the rows that lose tokens.
        lengths: quantiles of the whole rows.
        limit: most tokens that the base takes.
    """
    seen = f"{share:.1%} of the rows lose tokens (p50 {lengths['p50']:,}, p99 {lengths['p99']:,} tokens)"
    if share <= SOME:
        return ok(name, seen)
    context = lengths["p99"] if limit is None else min(limit, lengths["p99"])
    more = "" if limit is None else f" (the base takes {limit})"
    cure = f"Set data.init_args.context to {context}{more}, or shorten the rows."
    return Finding(name, "warning", seen, cure)
