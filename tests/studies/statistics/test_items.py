import numpy as np
import pytest
from scipy import stats

from finelab.contracts.clustered import mean_difference
from finelab.studies.statistics.interval import t_interval
from finelab.studies.statistics.items import item_interval, two_way


def test_independent_rows_are_the_t_interval() -> None:
    d = np.random.default_rng(0).normal(0.1, 1, 40)
    found, plain = item_interval(d), t_interval(d)
    assert (found.value, found.low, found.high, found.n) == pytest.approx((plain.value, plain.low, plain.high, 40))


def test_paired_rows_are_millers_paired_error() -> None:
    """sqrt(SE_A^2 + SE_B^2 - 2 SE_A SE_B corr) of arXiv:2411.00640."""
    a, b = np.random.default_rng(1).multivariate_normal([0.7, 0.6], [[1, 0.8], [0.8, 1]], 60).T
    errors, correlation = (stats.sem(a), stats.sem(b)), np.corrcoef(a, b)[0, 1]
    expected = (errors[0] ** 2 + errors[1] ** 2 - 2 * errors[0] * errors[1] * correlation) ** 0.5
    found = item_interval(a - b)
    assert (found.high - found.low) / 2 / stats.t.ppf(0.975, 59) == pytest.approx(expected)


def test_clusters_and_weights_go_to_the_shared_formula() -> None:
    generator = np.random.default_rng(2)
    d, tokens, documents = generator.normal(size=30), generator.integers(1, 9, 30), np.repeat(np.arange(10), 3)
    found = item_interval(d, tokens, documents)
    assert (found.value, found.low, found.high) == mean_difference(d, tokens, documents)[:3] and found.n == 10


def test_rows_without_spread_or_of_one_document() -> None:
    assert item_interval(np.zeros(20)).low is None
    assert item_interval(np.arange(4.0), clusters=np.zeros(4)).low is None
    assert item_interval(np.arange(4.0), clusters=np.zeros(4)).value == 1.5


def test_two_way_of_one_kind_of_variance() -> None:
    """Where rows are alike it is the t interval over seeds; where seeds are, almost that over rows."""
    generator = np.random.default_rng(3)
    seeds, rows = generator.normal(size=(5, 1)), generator.normal(size=(1, 50))
    over_seeds, over_rows = t_interval(seeds.ravel()), t_interval(rows.ravel())
    found = two_way(np.repeat(seeds, 50, axis=1))
    assert (found.low, found.high) == pytest.approx((over_seeds.low, over_seeds.high)) and found.n == 5
    found = two_way(np.repeat(rows, 5, axis=0))
    assert (found.low, found.high) == pytest.approx((over_rows.low, over_rows.high))


def test_two_way_by_the_mean_squares() -> None:
    d = np.random.default_rng(4).normal(size=(4, 6)) + np.random.default_rng(5).normal(size=(1, 6))
    seeds, rows = d.mean(1), d.mean(0)
    by_seed, by_row = 6 * seeds.var(ddof=1), 4 * rows.var(ddof=1)
    rest = (((d - d.mean()) ** 2).sum() - 3 * by_seed - 5 * by_row) / 15
    assert by_row > rest
    variance = (by_seed + by_row - rest) / 24
    freedom = (by_seed + by_row - rest) ** 2 / (by_seed**2 / 3 + (by_row - rest) ** 2 / 5)
    found = two_way(d)
    assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, freedom) * variance**0.5)


def test_two_way_counts_documents_and_tokens() -> None:
    generator = np.random.default_rng(6)
    documents, tokens = np.repeat(np.arange(12), 3), generator.integers(1, 9, 36).astype(float)
    d = (generator.normal(size=(5, 12))[:, documents] + generator.normal(size=(5, 36))) * tokens
    found = two_way(d, tokens, documents)
    assert found.value == pytest.approx(d.sum() / (5 * tokens.sum()))
    together = two_way(np.stack([np.bincount(documents, row) for row in d]), weights=np.bincount(documents, tokens))
    assert (found.low, found.high) == pytest.approx((together.low, together.high))
    doubled = two_way(2 * d, 2 * tokens, documents)
    assert (found.low, found.high) == pytest.approx((doubled.low, doubled.high))


def test_two_way_covers_where_seeds_alone_do_not() -> None:
    generator, hits, seeds_alone, studies = np.random.default_rng(7), 0, 0, 1500
    for _ in range(studies):
        d = generator.normal(size=(5, 1)) * 0.05 + generator.normal(size=(1, 60)) + generator.normal(size=(5, 60))
        found, alone = two_way(d), t_interval(d.mean(1))
        hits += found.low <= 0 <= found.high
        seeds_alone += alone.low <= 0 <= alone.high
    assert stats.binomtest(hits, studies, 0.95).pvalue > 0.001 and seeds_alone < 0.9 * studies


def test_two_way_needs_two_of_each() -> None:
    assert two_way(np.ones((1, 9))).low is two_way(np.ones((9, 1))).low is two_way(np.ones((3, 3))).low is None
    assert two_way(np.full((3, 3), 0.5)).value == 0.5
