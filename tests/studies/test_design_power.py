"""The sentences of a plan, against methods.md's tables: smallest p, and power of the paired t test."""

import numpy as np
import pytest
from scipy import stats

from finelab.studies.design_power import what_it_can_show
from finelab.studies.statistics.multiplicity import max_t
from finelab.studies.statistics.sign_flip import smallest_p


def said(*given) -> str:
    return " ".join(what_it_can_show(*given))


def test_one_replicate_tests_nothing():
    assert "nothing is tested" in said(1, 3)


@pytest.mark.parametrize(("n", "least"), [(3, "0.25"), (4, "0.125"), (5, "0.0625")])
def test_below_six_replicates_the_sign_flip_test_is_said_to_be_out_of_reach(n, least):
    assert f"cannot go below p = {least} with {n} replicates" in said(n, 1)
    assert "never reach 0.05; 6 are the fewest" in said(n, 1)


def test_from_six_on_the_correction_decides():
    assert "smallest two-sided p of the exact sign-flip test, its check, is 0.031." in said(6, 1)
    assert "times 2 by Holm's correction 0.062, which can never reach 0.05" in said(6, 2)
    assert "times 3 by Holm's correction 0.047, which can reach 0.05" in said(7, 3)


@pytest.mark.parametrize("comparisons", [1, 7, 20])
def test_from_eight_on_the_sentences_are_of_the_max_t_sign_flips_that_decide(comparisons):
    words = said(8, comparisons)
    assert "Holm" not in words and "paired t" not in words
    assert "Its smallest two-sided p is 0.0078" in words, "2^-7, however many comparisons"
    assert ("max-T over" in words) == (comparisons > 1)
    rng = np.random.default_rng(comparisons)
    given = rng.normal(size=(8, comparisons))
    given[:, 0] = 1 + 0.01 * rng.random(8)
    assert max_t(given)[0] == smallest_p(8), "which the analysis reaches"


@pytest.mark.parametrize(("comparisons", "effect"), [(1, 1.2), (7, 1.7)])
def test_the_difference_that_sign_flips_detect_is_about_the_one_that_is_said(comparisons, effect):
    assert f"one of about {effect}." in said(8, comparisons) or f"difference of about {effect} " in said(8, comparisons)
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(400, 8, comparisons))
    drawn[:, :, 0] += effect
    assert np.mean([max_t(each)[0] < 0.05 for each in drawn]) == pytest.approx(0.8, abs=0.07)


def test_beyond_twenty_replicates_flips_are_drawn():
    assert "Its smallest two-sided p is 1e-05" in said(30, 2)


def test_the_detectable_difference_is_the_one_that_a_simulation_finds():
    assert "difference of 1.7 standard deviations" in said(5, 1) and "in 80% of studies" in said(5, 1)
    rng = np.random.default_rng(0)
    found = stats.ttest_1samp(rng.normal(1.68, 1, (5, 20_000)), 0).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_more_comparisons_need_more_and_a_large_effect_is_priced():
    assert "for 7 comparisons at worst one of 2.9." in said(5, 7)
    assert "(d_z = 1) would need 10 replicates" in said(5, 1)
    assert "would need" not in said(10, 1)


def test_a_margin_is_explained():
    assert "Equivalence within 0.01" in said(5, 1, 0.01) and "Equivalence" not in said(5, 1)
