"""Rows, and what becomes of those that cannot be used."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ..contracts.errors import UserError

Reject: TypeAlias = Callable[[str, str], None]
"""Takes (where, why)."""

LISTED = 5
"""How many rejected rows the report names."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row as read.

    Args:
        where: ``file:line``.
        fields: column -> value.
    """

    where: str
    fields: dict[str, object]


class BadRow(ValueError):
    """Why a row cannot be used, in words for its author."""


@dataclass
class Rejections:
    """What was rejected in one split.

    Args:
        policy: ``error`` stops at the first row, ``skip`` counts and lists them.
    """

    policy: Literal["error", "skip"]
    reasons: Counter[str] = field(default_factory=Counter)
    listed: list[str] = field(default_factory=list)

    def __call__(self, where: str, why: str, policy: Literal["error", "skip"] | None = None) -> None:
        """Stop at a row, or count and list it.

        Args:
            where: ``file:line``.
            why: the reason, details in brackets behind it.
            policy: of the template where it has one of its own.

        Raises:
            UserError: the policy is ``error``.
        """
        if policy == "error":
            raise UserError(f"{where}: {why}. Fix the row, or give the template another policy for such rows.")
        if policy is None and self.policy == "error":
            raise UserError(
                f"{where}: {why}. Fix the row, or set data.init_args.on_bad_row: skip to leave such rows out "
                "(the report counts and lists them)."
            )
        self.reasons[why.partition(" (")[0]] += 1
        if len(self.listed) < LISTED:
            self.listed.append(f"{where}: {why}")

    def as_dict(self) -> dict[str, object]:
        return {"rows": self.reasons.total(), "reasons": dict(self.reasons), "first": self.listed}
