"""The errors of single rows behind a watched metric, as the probes keep them."""

from .evidence.contrast import independent_units
from .evidence.half import Half
from .evidence.probe_series import ProbeSeries

NOISE = 2.0
"""Paired standard errors within which two evaluations cannot be told apart.

A difference between two evaluations that were chosen in advance exceeds two of them by chance in 2.3% of cases. The
best so far was chosen for its luck, so that single evaluations exceed them more often, but rarely several in
succession. Where an error falls slowly, patience gives away much of what is to come with one, next to nothing with two,
and with three it only stops later (tests/callbacks/test_probe_errors.py, benchmarks/stopping.py).
"""


class ProbeErrors:
    """Errors by optimizer step, in nats per supervised token for ``val/nll`` and as a share for ``val/accuracy``.

    Args:
        series: every evaluation of the run so far.
        metric: one of ``METRICS``.
    """

    METRICS = ("val/nll", "val/accuracy")

    def __init__(self, series: ProbeSeries, metric: str) -> None:
        self.series, self.name = series, metric.removeprefix("val/")
        self.place = {int(step): index for index, step in enumerate(series.steps)}
        a, b = independent_units(series.a, series.b)
        self.validation = Half.of(series.a, a, self.name) + Half.of(series.b, b, self.name)

    def train(self, step: int) -> float:
        """Mean error on the training probe."""
        rows = self.series.train
        assert rows is not None
        return float(Half.of(rows, rows.groups, self.name).mean[self.place[step]])

    def noise(self, newer: int, older: int) -> float:
        """By how much the validation errors at two steps may differ by chance.

        Pairing takes out how hard each row is, which is most of the spread: of 500 rows that share their difficulty the
        paired standard error was a tenth of the unpaired one.
        """
        return NOISE * self.validation.rise(self.place[newer], self.place[older]).error
