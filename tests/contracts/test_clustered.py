import math

import numpy as np
import pytest
from scipy import stats

from finelab.contracts.clustered import mean_difference


def test_documents_are_clusters_and_tokens_are_weights() -> None:
    """Against the sums of Miller 2024, and against every document as one row of its own."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 4)
    tokens = rng.integers(1, 9, 120).astype(float)
    d = rng.normal(size=30)[groups] * tokens + rng.normal(size=120)
    mean, low, high, count, clusters = mean_difference(d, tokens, groups)
    assert (mean, count, clusters) == (pytest.approx(d.sum() / tokens.sum()), 120, 30)
    together = np.bincount(groups, d), np.bincount(groups, tokens), np.arange(30)
    assert mean_difference(*together)[:3] == pytest.approx((mean, low, high))
    naive = mean_difference(d, tokens, np.arange(120))
    assert high - low > 1.3 * (naive[2] - naive[1]), "rows of a document are alike"
    residuals = d - mean * tokens
    pairs = sum(residuals[i] * residuals[j] for i in range(120) for j in range(120) if groups[i] == groups[j])
    error = math.sqrt(pairs * 30 / 29) / tokens.sum()
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 29) * error)


def test_coverage_of_the_clustered_interval() -> None:
    rng = np.random.default_rng(1)
    groups, ones, hits = np.repeat(np.arange(25), 4), np.ones(100), 0
    for _ in range(400):
        d = rng.normal(size=25)[groups] + rng.normal(size=100)
        _, low, high, *_ = mean_difference(d, ones, groups)
        hits += low <= 0 <= high
    assert 0.92 < hits / 400 < 0.98
