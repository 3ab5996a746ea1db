import numpy as np
import pytest
from scipy import stats

from finelab.studies.statistics.equivalence import tost
from finelab.studies.statistics.interval import t_interval


@pytest.mark.parametrize("shift", [-0.02, 0.0, 0.004, 0.3])
def test_is_the_larger_of_two_one_sided_tests(shift: float) -> None:
    d, margin = np.random.default_rng(2).normal(shift, 0.01, 6), 0.02
    above = stats.ttest_1samp(d, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(d, margin, alternative="less").pvalue
    assert tost(d, margin) == pytest.approx(max(above, below))


def test_agrees_with_the_90_percent_interval() -> None:
    for seed in range(40):
        d = np.random.default_rng(seed).normal(0, 0.01, 5)
        interval = t_interval(d, 0.9)
        assert (tost(d, 0.012) < 0.05) == (interval.low > -0.012 and interval.high < 0.012)


def test_differences_without_spread() -> None:
    assert tost([0.0] * 5, 0.01) == tost([0.005] * 5, 0.01) == 1 / 32
    assert tost([0.01] * 5, 0.01) == tost([-0.02] * 5, 0.01) == 1.0
    assert tost([0.0] * 3, 0.01) == 0.125
    assert tost([0.0], 0.01) is None
