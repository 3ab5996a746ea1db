"""What a measure found, as the record takes it: JSON has no word for a number that is not finite."""

import math
from dataclasses import replace
from typing import Any

from ..contracts.verdict import Evidence, Verdict

NOT_FINITE = {"missing": "not finite"}


def recordable(finding: dict[str, Any]) -> dict[str, Any]:
    """A part of a finding with such a number is missing. In a list the rest still holds: the number alone is null
    there, and left out of the entries of a course."""
    return {name: dict(NOT_FINITE) if _is_spoilt(part) else _without(part) for name, part in finding.items()}


def recordable_verdict(verdict: Verdict) -> Verdict:
    """Without the evidence that is not finite."""
    evidence = [
        Evidence(each.name, each.value, _finite(each.low), _finite(each.high), each.says)
        for each in verdict.evidence
        if math.isfinite(each.value)
    ]
    return replace(verdict, cost=_finite(verdict.cost), evidence=evidence)


def _is_spoilt(part: Any) -> bool:
    """Outside lists."""
    if isinstance(part, dict):
        return any(_is_spoilt(value) for value in part.values())
    return isinstance(part, float) and not math.isfinite(part)


def _without(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _without(value) for name, value in part.items() if not _is_spoilt(value)}
    if isinstance(part, list | tuple):
        return [None if isinstance(value, float) and not math.isfinite(value) else _without(value) for value in part]
    return part


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
