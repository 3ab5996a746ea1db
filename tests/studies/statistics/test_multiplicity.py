import itertools

import numpy as np
import pytest
from scipy import stats

from finelab.studies.statistics.multiplicity import holm, max_t
from finelab.studies.statistics.sign_flip import sign_flip


def holm_by_loop(p: np.ndarray) -> np.ndarray:
    m, found, least = len(p), np.zeros(len(p)), 0.0
    for rank, index in enumerate(np.argsort(p)):
        least = max(least, min(1.0, (m - rank) * p[index]))
        found[index] = least
    return found


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == pytest.approx([0.2]) and holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    many = np.random.default_rng(0).uniform(size=(50, 6)) ** 3
    assert holm(many) == pytest.approx(np.array([holm_by_loop(row) for row in many]))


def test_holm_over_the_smallest_p_of_five_seeds_cannot_reach_five_percent() -> None:
    assert holm([0.03125] * 2) == pytest.approx([0.0625] * 2)


def max_t_by_loop(d: np.ndarray) -> np.ndarray:
    def t(x: np.ndarray) -> np.ndarray:
        return np.abs(x.mean(0) / (x.std(0, ddof=1) / len(x) ** 0.5))

    n, m = d.shape
    observed = t(d)
    order = np.argsort(-observed)
    flipped = np.array([t(d * np.array(signs)[:, None]) for signs in itertools.product((-1, 1), repeat=n)])
    found, least = np.zeros(m), 0.0
    for rank, index in enumerate(order):
        least = max(least, float((flipped[:, order[rank:]].max(1) >= observed[index] - 1e-9).mean()))
        found[index] = least
    return found


@pytest.mark.parametrize("seed", range(4))
def test_max_t_by_enumeration(seed: int) -> None:
    generator = np.random.default_rng(seed)
    d = generator.normal(size=(6, 4)) + generator.normal(size=(6, 1)) + [0, 0.5, 1, 3]
    assert max_t(d) == pytest.approx(max_t_by_loop(d))


def test_max_t_of_one_arm_is_the_sign_flip() -> None:
    for n in (3, 7):
        d = np.random.default_rng(n).normal(1, 1, n)
        assert max_t(d[:, None]) == pytest.approx([sign_flip(d)])


def test_max_t_uses_correlation() -> None:
    d = np.random.default_rng(5).normal(0.9, 1, 8)
    assert max_t(np.stack([d, d, d], 1)) == pytest.approx([sign_flip(d)] * 3)  # Holm would take three times that


def test_max_t_of_arms_without_spread() -> None:
    d = np.stack([np.ones(6), np.zeros(6), [1, -1, 1, -1, 1, -1]], 1)
    assert max_t(d) == pytest.approx([2 * 2**-5, 1, 1])  # one flip makes the third arm as the first one is
    assert max_t(d[:, 1:2] + 1e-17) == pytest.approx([1])


def test_max_t_beyond_enumeration() -> None:
    generator = np.random.default_rng(6)
    d = generator.normal(size=(25, 2)) + np.array([0.6, 0.0])
    found = max_t(d)
    assert found[0] == pytest.approx(min(1, 2 * stats.ttest_1samp(d[:, 0], 0).pvalue), rel=0.4) and found[1] > 0.05
    assert found == pytest.approx(max_t(d), abs=0)
