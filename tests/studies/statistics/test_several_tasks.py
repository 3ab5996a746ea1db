import numpy as np
import pytest
from scipy import stats

from finelab.studies.statistics.several_tasks import (
    iqm,
    paired_iqm_interval,
    stratified_sign_flip,
)
from finelab.studies.statistics.sign_flip import sign_flip


@pytest.mark.parametrize("shape", [(5, 5), (3, 4), (1, 3), (10, 20)])
def test_iqm_is_scipys_trimmed_mean(shape: tuple[int, int]) -> None:
    scores = np.random.default_rng(0).normal(size=shape)
    assert iqm(scores) == pytest.approx(stats.trim_mean(scores.ravel(), 0.25))


def test_the_interval_moves_and_scales_with_the_differences() -> None:
    d = np.random.default_rng(1).normal(0.2, 1, (5, 5))
    found, moved = paired_iqm_interval(d), paired_iqm_interval(3 * d + 1)
    assert found.low < found.value < found.high and found.n == 5 and found.value == pytest.approx(iqm(d))
    assert (moved.low, moved.high) == pytest.approx((3 * found.low + 1, 3 * found.high + 1))
    assert found == paired_iqm_interval(d) != paired_iqm_interval(d, seed=1)


def test_the_error_is_that_of_yuens_trimmed_mean() -> None:
    """One stratum: scipy's test of a trimmed mean has the same standard error."""
    from finelab.studies.statistics.several_tasks import _errors

    d = np.random.default_rng(2).normal(size=40)
    winsorized = np.asarray(stats.mstats.winsorize(d, limits=(0.25, 0.25)))
    assert _errors(d[None, :, None])[0] == pytest.approx(winsorized.std(ddof=1) / 0.5 / 40**0.5)


def test_the_interval_covers() -> None:
    generator, hits, studies = np.random.default_rng(3), 0, 120
    shift = np.linspace(-1, 1, 5)
    for study in range(studies):
        found = paired_iqm_interval(generator.normal(size=(5, 5)) + shift, study)
        hits += found.low <= 0 <= found.high
    assert stats.binomtest(hits, studies, 0.95).pvalue > 0.001


def test_no_interval_without_spread_or_of_one_replicate() -> None:
    assert paired_iqm_interval(np.tile([1.0, 2.0, 3.0], (5, 1))).low is None
    assert paired_iqm_interval(np.array([[1.0, 2.0, 4.0]])).low is None


def test_stratified_sign_flip() -> None:
    d = np.random.default_rng(4).normal(0.4, 1, (4, 3))
    scaled = d * [1, 100, 0.01]
    assert stratified_sign_flip(d) == pytest.approx(stratified_sign_flip(scaled))
    assert stratified_sign_flip(d[:, :1]) == pytest.approx(sign_flip(d[:, 0]))
    assert stratified_sign_flip(np.abs(d)) == 2**-11  # no single task of 4 can have less than 1 / 8
    assert stratified_sign_flip(np.zeros((4, 3))) == 1.0


def test_stratified_sign_flip_keeps_its_level() -> None:
    generator = np.random.default_rng(5)
    p = np.array([stratified_sign_flip(generator.standard_t(3, (4, 3)) * [1, 5, 0.2]) for _ in range(3000)])
    assert stats.binomtest(int((p <= 0.05).sum()), 3000, 0.05).pvalue > 0.001
