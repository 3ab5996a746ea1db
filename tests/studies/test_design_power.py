"""The sentences of a plan, against methods.md's tables: smallest p, and power of the paired t test."""

import numpy as np
import pytest
from scipy import stats

from finelab.studies.design_power import what_it_can_show


def said(*given) -> str:
    return " ".join(what_it_can_show(*given))


def test_one_replicate_tests_nothing():
    assert "nothing is tested" in said(1, 3)


@pytest.mark.parametrize(("n", "least"), [(3, "0.25"), (4, "0.125"), (5, "0.0625")])
def test_below_six_replicates_the_sign_flip_test_is_said_to_be_out_of_reach(n, least):
    assert f"cannot go below p = {least} with {n} replicates" in said(n, 1)
    assert "never reach 0.05; 6 are the fewest" in said(n, 1)


def test_from_six_on_the_correction_decides():
    assert "smallest two-sided p of the exact sign-flip test is 0.031." in said(6, 1)
    assert "times 2 by Holm's correction 0.062, which can never reach 0.05" in said(6, 2)
    assert "times 20 by Holm's correction 0.039, which can reach 0.05" in said(10, 20)


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
