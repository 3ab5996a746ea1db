"""One level combination under comparison."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """What is compared with other arms.

    Args:
        name: unique in a study: its levels joined by `` + ``, without those of factors that have one level only, and
            each with its factor where it tells nothing alone (``rdrop + dropout 0.1``); of a leave-one-out design
            ``all parts`` and ``without FACTOR``.
        levels: factor -> level, without the factor of the tasks; factors that do not apply are missing.
        reference: name of the arm that it is compared with; None of a reference.
        placebo: name of the arm that spends its extra compute without its idea; None where there is none.
    """

    name: str
    levels: dict[str, str]
    reference: str | None = None
    placebo: str | None = None
