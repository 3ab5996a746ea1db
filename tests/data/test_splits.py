from collections import Counter

import pytest

from finelab.contracts.errors import UserError
from finelab.data.splits import Fractions, split_by_fraction

SHARES = {"validation": 0.1, "test": 0.2}


def test_fractions_are_kept_to_the_row():
    for size in (10, 99, 1000):
        counts = Counter(split_by_fraction(size, SHARES, seed=1))
        assert counts["validation"] == round(0.1 * size)
        assert counts["test"] == round(0.2 * size)


def test_strata_are_shared_out_alike():
    strata = ["a"] * 700 + ["b"] * 250 + ["c"] * 40 + ["d"] * 2 + ["e"]
    splits = split_by_fraction(len(strata), SHARES, seed=1, strata=strata)
    counts = Counter(zip(splits, strata, strict=True))
    for stratum, size in Counter(strata).items():
        assert counts["train", stratum] >= 1
        for split, share in SHARES.items():
            assert abs(counts[split, stratum] - share * size) <= 1


def test_the_split_depends_on_the_data_seed_alone():
    first = split_by_fraction(200, SHARES, seed=1)
    assert split_by_fraction(200, SHARES, seed=1) == first
    other = split_by_fraction(200, SHARES, seed=2)
    assert other != first
    assert Counter(other) == Counter(first)


def test_what_is_cut_off_depends_on_what_there_is():
    fractions = Fractions(0.1, 0.2)
    assert fractions.missing_from(["train"]) == {"validation": 0.1, "test": 0.2}
    assert fractions.missing_from(["train", "test"]) == {"validation": 0.1}
    assert fractions.missing_from(["train", "validation"]) == {}
    assert fractions.missing_from(["test"]) == {}
    assert Fractions(0, 0).missing_from(["train"]) == {}


@pytest.mark.parametrize("shares", [(-0.1, 0.1), (0.5, 0.5), (1.0, 0.0)])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(UserError, match=r"data\.splits"):
        Fractions(*shares)
