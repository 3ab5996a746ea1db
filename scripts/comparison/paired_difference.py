"""One metric of two runs on the same rows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PairedDifference:
    """How much one run is above another on the same rows.

    Args:
        metric: e.g. ``nll``.
        difference: the run's mean over all supervised positions less the other's.
        low: lower end of the 95 % interval over rows.
        high: upper end.
        rows: how many.
        clusters: independent groups of them; as many as rows where every row is its own.
    """

    metric: str
    difference: float
    low: float
    high: float
    rows: int
    clusters: int
