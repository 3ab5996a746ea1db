import numpy as np
import pytest
from scipy import stats

from finelab.callbacks.evidence.contrast import difference, effective, few_documents, independent_units, ratio
from finelab.callbacks.evidence.estimate import Estimate, joined
from finelab.callbacks.evidence.probe_series import ProbeSet

RNG = np.random.default_rng(3)


def test_with_one_token_a_row_it_is_the_paired_t_test() -> None:
    losses = RNG.normal(size=(3, 40)) + RNG.normal(size=40)
    found = difference(losses, 2, 0, np.ones(40), np.arange(40))
    expected = stats.ttest_rel(losses[2], losses[0], alternative="greater")
    assert found.value == pytest.approx((losses[2] - losses[0]).mean())
    assert found.p_above == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.p_below == pytest.approx(1 - expected.pvalue, rel=1e-9)
    assert found.interval(0.9)[0] == pytest.approx(expected.confidence_interval(0.95).low)
    assert difference(losses, 1, 1, np.ones(40), np.arange(40)) == Estimate(0.0, 0.0, 39, 40)


def test_by_hand_with_tokens_and_documents() -> None:
    """sum(d) = 5 over 10 tokens is 0.5; residuals d - 0.5 tokens = .5, -1.5, 2, -1 add up to -1 and 1 by document, of
    which one has 4 tokens and the other 6."""
    found = ratio(np.array([1.0, 0.0, 3.0, 1.0]), np.array([1.0, 3.0, 2.0, 4.0]), np.array([7, 7, 9, 9]))
    assert (found.value, found.freedom, found.units) == (0.5, 1, 2)
    assert found.error == pytest.approx((1 / 2 * (1 / 0.6**2 + 1 / 0.4**2)) ** 0.5 / 10)


def test_the_error_of_documents_is_that_of_repeated_draws() -> None:
    """Rows of one document share half of their variance, and have 1 to 60 tokens."""
    values, errors = [], []
    for seed in range(600):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(30), 4)
        tokens = rng.integers(1, 60, 120).astype(float)
        per_token = 0.1 + 0.2 * rng.normal(size=30)[groups] + 0.2 * rng.normal(size=120)
        found = ratio(per_token * tokens, tokens, groups)
        values.append(found.value)
        errors.append(found.error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.1)
    assert np.mean(values) == pytest.approx(0.1, abs=0.01)


def test_it_is_the_jackknife() -> None:
    rng = np.random.default_rng(0)
    groups, tokens = np.repeat(np.arange(9), np.arange(1, 10)), rng.integers(1, 60, 45).astype(float)
    values = rng.normal(size=45) * tokens
    without = [values[groups != g].sum() / tokens[groups != g].sum() for g in range(9)]
    found = ratio(values, tokens, groups)
    assert found.error == pytest.approx((8 / 9 * np.sum((np.array(without) - found.value) ** 2)) ** 0.5)
    shares = np.bincount(groups, weights=tokens) / tokens.sum()
    assert found.freedom == pytest.approx(1 / np.sum(shares**2) - 1)
    even = ratio(values[:36], np.ones(36), np.arange(36) // 4)
    assert (even.freedom, effective(np.ones(36), np.arange(36) // 4)) == (pytest.approx(8), pytest.approx(9))


@pytest.mark.parametrize("spread", [0.0, 1.5])
def test_documents_of_unequal_size_make_no_more_false_alarms(spread: float) -> None:
    """Eight documents, lognormal sizes, all of the noise between documents; the plain sum of squares has 13 %."""
    alarms, rounds = 0, 1500
    for seed in range(rounds):
        rng = np.random.default_rng(seed)
        sizes = np.maximum(1, np.round(20 * rng.lognormal(0, spread, 8))).astype(int)
        groups = np.repeat(np.arange(8), sizes)
        values = rng.normal(size=8)[groups] + 0.5 * rng.normal(size=len(groups))
        alarms += ratio(values, np.ones(len(groups)), groups).p_above <= 0.05
    assert 0.015 <= alarms / rounds <= 0.065


def test_few_documents_leave_the_rows_as_units() -> None:
    def rows(groups: list[int]) -> ProbeSet:
        return ProbeSet(np.zeros((1, len(groups))), np.ones(len(groups)), None, np.array(groups))

    few, more = rows([1, 1, 2, 2, 3]), rows([4, 5, 6, 7, 8, 8])
    assert [x.tolist() for x in independent_units(few)] == [[0, 1, 2, 3, 4]]
    assert [x.tolist() for x in independent_units(few, few)] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert [x.tolist() for x in independent_units(few, more)] == [[1, 1, 2, 2, 3], [4, 5, 6, 7, 8, 8]]
    assert few_documents(few) and not few_documents(rows([1, 2, 3]))


def test_the_sum_of_two_estimates() -> None:
    """Welch's degrees of freedom, as in scipy's test of two samples."""
    one, other = RNG.normal(size=12), 3 * RNG.normal(size=30)
    parts = [ratio(x, np.ones(len(x)), np.arange(len(x))) for x in (one, other)]
    found = joined(parts[0].value - parts[1].value, *parts)
    expected = stats.ttest_ind(one, other, equal_var=False)
    assert found.freedom == pytest.approx(expected.df)
    assert found.value / found.error == pytest.approx(expected.statistic)
    assert joined(0.0, *parts, correlation=1.0).error == pytest.approx(parts[0].error + parts[1].error)


def test_no_variance_at_all() -> None:
    assert [Estimate(x, 0.0, 5, 6).p_above for x in (1.0, 0.0, -1.0)] == [0.0, 1.0, 1.0]
