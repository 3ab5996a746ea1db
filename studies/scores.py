"""One number of a finished run, by its key."""

from typing import Any

from ..contracts.metrics import direction
from ..contracts.record import Record

SPLITS = ("validation", "test")
COST_MODES = "min"


class MissingScore(Exception):
    """A run that has not this number; the message says why."""


def score(record: Record, key: str) -> float:
    """A number of a record.

    Args:
        record: of a finished run.
        key: ``test/accuracy``, ``validation/nll``, ``test/SET/nll`` of one of several sets; ``delta/test/accuracy``,
            the difference to the strongest reference before training; ``cost/training_seconds``;
            ``parameters/trainable``; ``best/step``; or a path into the findings, ``forgetting/general/difference``.

    Raises:
        MissingScore: it is not there; the message says why.
    """
    head, _, rest = key.partition("/")
    if head == "delta":
        return score(record, rest) - _before(record, rest)
    if head in SPLITS:
        return _of_split(record, key)
    if head == "cost":
        return _number(getattr(record.cost, rest, None), key)
    if head == "parameters":
        return _number(record.parameters.get(rest), key)
    if head == "best":
        return _number(getattr(record.best, rest, None), key)
    return _of_findings(record, key)


def value_or_none(record: Record | None, key: str) -> float | None:
    """None without a record, and of a record that has not this number."""
    if record is None:
        return None
    try:
        return score(record, key)
    except MissingScore:
        return None


def mode_of(key: str) -> str | None:
    """``max`` or ``min``, or None where neither is better by itself."""
    head, _, rest = key.partition("/")
    if head in ("cost", "parameters"):
        return COST_MODES
    if head == "best":
        return None
    return direction(rest.rpartition("/")[2])


def _of_split(record: Record, key: str) -> float:
    split, _, name = key.rpartition("/")
    result = record.metrics.get(split)
    if result is None:
        read = "" if split != "test" or record.test_read else "; the test split was not read (evaluate_test: false)"
        raise MissingScore(f"the run has no {split} split{read}")
    if name not in result.after:
        raise MissingScore(result.missing.get(name, f"{key} is not among {', '.join(sorted(result.after))}"))
    return result.after[name]


def _before(record: Record, key: str) -> float:
    split, _, name = key.rpartition("/")
    before = record.metrics[split].before
    if not before or name not in (strongest := list(before.values())[-1]):
        raise MissingScore(f"no reference before training has {key}")
    return strongest[name]


def _of_findings(record: Record, key: str) -> float:
    found: Any = record.findings
    for part in key.split("/"):
        if isinstance(found, dict) and isinstance(found.get("missing"), str):
            raise MissingScore(found["missing"])
        if not isinstance(found, dict) or part not in found:
            known = ", ".join(sorted(map(str, found))) if isinstance(found, dict) else "nothing below it"
            raise MissingScore(f"the findings have no {key}: at {part!r} there is {known or 'nothing'}")
        found = found[part]
    return _number(found, key)


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MissingScore(f"{key} is not a number of this run")
    return float(value)
