import numpy as np
import pytest
from scipy import stats

from finelab.studies.statistics.interval import clopper_pearson, t_interval


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_t_interval_is_scipys(n: int, confidence: float) -> None:
    values = np.random.default_rng(n).normal(3, 2, n)
    found = t_interval(values, confidence)
    assert (found.low, found.high) == pytest.approx(
        stats.t.interval(confidence, n - 1, values.mean(), stats.sem(values)), rel=1e-12
    )
    assert (found.value, found.n) == (pytest.approx(values.mean()), n)


@pytest.mark.parametrize("values", [[0.7], [0.7] * 4, [0.0, 0.0], [0.7, 0.7 + 1e-8]])
def test_no_spread_makes_no_interval(values: list[float]) -> None:
    found = t_interval(values)
    assert found.value == pytest.approx(values[0]) and found.low is found.high is None and found.n == len(values)


def test_a_tiny_metric_keeps_its_interval() -> None:
    assert t_interval([1e-9, 2e-9, 3e-9]).low is not None


def test_clopper_pearson_is_scipys_and_covers() -> None:
    for n in (1, 3, 5, 20):
        intervals = [clopper_pearson(hits, n) for hits in range(n + 1)]
        for hits, found in enumerate(intervals):
            exact = stats.binomtest(hits, n).proportion_ci(0.95, "exact")
            assert (found.low, found.high, found.value) == pytest.approx((exact.low, exact.high, hits / n))
        for share in np.linspace(0.01, 0.99, 23):
            inside = np.array([found.low <= share <= found.high for found in intervals])  # type: ignore[operator]
            assert stats.binom.pmf(np.arange(n + 1), n, share)[inside].sum() >= 0.95
