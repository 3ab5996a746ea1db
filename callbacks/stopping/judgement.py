"""What a stopping criterion says after an evaluation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Judgement:
    """Whether to stop, and why.

    Args:
        stops: training has gone on for long enough.
        value: what the criterion looks at, after the newest evaluation.
        threshold: where it stops.
        meaning: the value in words.
    """

    stops: bool
    value: float
    threshold: float
    meaning: str
