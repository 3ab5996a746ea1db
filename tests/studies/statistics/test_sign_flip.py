import itertools

import numpy as np
import pytest
from scipy import stats

from finelab.studies.statistics.sign_flip import all_flips, sign_flip, smallest_p


@pytest.mark.parametrize(
    ("n", "p"), [(3, 0.25), (4, 0.125), (5, 0.0625), (6, 0.031), (8, 0.0078), (10, 0.0020), (20, 1.9e-6)]
)
def test_smallest_p(n: int, p: float) -> None:
    assert smallest_p(n) == pytest.approx(p, rel=0.03)
    assert sign_flip(np.arange(1, n + 1)) == sign_flip(-np.arange(1.0, n + 1)) == smallest_p(n)


@pytest.mark.parametrize("n", [3, 5, 8, 10])
def test_smallest_p_of_wilcoxon_is_the_same(n: int) -> None:
    assert stats.wilcoxon(np.arange(1, n + 1), method="exact").pvalue == pytest.approx(smallest_p(n))


@pytest.mark.parametrize(("n", "p"), [(3, 0.10), (4, 0.029), (5, 0.0079), (6, 0.0022), (8, 1.6e-4), (10, 1.1e-5)])
def test_smallest_p_of_runs_that_do_not_pair(n: int, p: float) -> None:
    least = stats.mannwhitneyu(np.arange(n) + 100, np.arange(n), method="exact").pvalue
    assert (least == pytest.approx(p, rel=0.03) and n > 6) or least == pytest.approx(p, abs=6e-4)


@pytest.mark.parametrize("n", [2, 5, 7])
def test_is_the_count_over_all_flips(n: int) -> None:
    d = np.random.default_rng(n).normal(0.4, 1, n)
    means = [abs(np.mean(d * np.array(signs))) for signs in itertools.product((-1, 1), repeat=n)]
    assert sign_flip(d) == np.mean(np.array(means) >= abs(d.mean()) - 1e-12)
    scipys = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(d) == pytest.approx(scipys.pvalue)


def test_ties_of_a_coarse_metric_count() -> None:
    d = np.array([0.1, 0.2, 0.3]) - np.array([0.0, 0.0, 0.6])  # 0.1, 0.2, -0.3: sums to 0 but for rounding
    assert d.sum() != 0 and sign_flip(d) == 1.0
    assert sign_flip([1e-17, 3e-17, 1e-17, 2e-17, 1e-17, 1e-17]) == 1.0
    assert sign_flip([0.0] * 4) == sign_flip([0.0]) == sign_flip([3.0]) == 1.0


def test_beyond_twenty_by_drawing() -> None:
    d = np.random.default_rng(3).normal(0.45, 1, 24)
    assert sign_flip(d) == sign_flip(d) == pytest.approx(stats.ttest_1samp(d, 0).pvalue, rel=0.1)
    assert sign_flip(np.ones(40)) == 1 / 100_001


def test_half_of_the_flips_stands_for_all() -> None:
    flips = all_flips(4)
    assert flips.shape == (8, 4) and len({tuple(row) for row in np.concatenate([flips, -flips])}) == 16
