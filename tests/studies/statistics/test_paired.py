import numpy as np
import pytest
from scipy import stats

from finelab.studies.statistics.paired import paired, t_test


@pytest.mark.parametrize("n", [2, 3, 5, 8, 20])
def test_is_scipys_paired_t_test(n: int) -> None:
    a, b = np.random.default_rng(n).normal(0.7, 0.1, (2, n))
    found, theirs = paired(a - b), stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.95)
    assert (found.t, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.effect == pytest.approx(found.mean / found.sd) == pytest.approx(found.t / n**0.5)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_many_at_once() -> None:
    many = np.random.default_rng(0).normal(size=(5, 7, 3))
    t, p = t_test(many)
    assert t == pytest.approx(stats.ttest_1samp(many, 0).statistic) and p.shape == (7, 3)
    assert p == pytest.approx(stats.ttest_1samp(many, 0).pvalue)


def test_one_pair_tests_nothing() -> None:
    found = paired([0.3])
    assert (found.n, found.mean) == (1, 0.3)
    assert found.sd is found.low is found.high is found.t is found.p is found.effect is None


@pytest.mark.parametrize(("difference", "p"), [(0.0, 1.0), (0.05, 0.0625), (-0.05, 0.0625)])
def test_equal_differences_have_no_t(difference: float, p: float) -> None:
    found = paired([difference] * 5)
    assert (found.p, found.sd, found.mean) == (p, 0.0, pytest.approx(difference))
    assert found.t is found.effect is found.low is found.high is None


def test_equal_up_to_rounding_is_equal() -> None:
    ours, theirs = np.float32([0.85, 0.9, 0.7]), np.float32([0.8, 0.85, 0.65])
    differences = ours.astype(float) - theirs.astype(float)
    assert np.ptp(differences) > 0 and paired(differences).t is None


def test_arms_that_only_round_otherwise_do_not_differ() -> None:
    found = paired([1e-17, 1.1e-17, 1.2e-17, 1.1e-17])
    assert found.p == 1.0 and found.t is None


@pytest.mark.parametrize(("correlation", "saved"), [(0.8, 5), (0.95, 20)])
def test_pairing_saves_replicates(correlation: float, saved: int) -> None:
    """The variance of a mean difference falls by 1 - correlation against runs that do not pair."""
    covariance = [[1, correlation], [correlation, 1]]
    a, b = np.random.default_rng(4).multivariate_normal([0, 0], covariance, 40_000).T
    welch = stats.ttest_ind(a, b[::-1], equal_var=False).confidence_interval()
    found = paired(a - b)
    assert ((welch.high - welch.low) / (found.high - found.low)) ** 2 == pytest.approx(saved, rel=0.05)
