import itertools

import numpy as np
import pytest

from finelab.studies.statistics.expected_validation import expected_best

FOUR = (0.6, 0.7, 0.7, 0.9)


def test_published_check() -> None:
    assert (expected_best(FOUR)[1], expected_best(FOUR)[3]) == pytest.approx((0.80, 0.90))
    biased = expected_best(FOUR, with_replacement=True)
    assert (biased[1], biased[3]) == pytest.approx((0.78125, 0.836328), abs=1e-6)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_is_the_mean_over_all_subsets_and_all_draws(mode: str) -> None:
    values, best = np.random.default_rng(0).normal(size=6), {"max": max, "min": min}[mode]
    subsets = [np.mean([best(s) for s in itertools.combinations(values, k)]) for k in range(1, 7)]
    assert expected_best(values, mode) == pytest.approx(subsets)
    draws = [np.mean([best(s) for s in itertools.product(values, repeat=k)]) for k in range(1, 5)]
    assert expected_best(values, mode, with_replacement=True)[:4] == pytest.approx(draws)


def test_of_one_trial_and_of_many() -> None:
    assert expected_best([0.3]) == [0.3]
    many = expected_best(np.random.default_rng(1).uniform(size=300))
    assert all(a < b for a, b in itertools.pairwise(many))


def test_winners_curse_of_equal_trials() -> None:
    """E[max of k] standard normals is 0.56, 0.84, 1.16, 1.54, 1.87 for k = 2, 3, 5, 10, 20."""
    found = expected_best(np.random.default_rng(2).normal(size=1500))
    assert [found[k - 1] for k in (2, 3, 5, 10, 20)] == pytest.approx([0.56, 0.84, 1.16, 1.54, 1.87], abs=0.08)
