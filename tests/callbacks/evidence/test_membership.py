import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from finelab.callbacks.evidence.membership import membership_auc


def test_against_scikit_learn_and_the_definition() -> None:
    rng = np.random.default_rng(1)
    train, validation = rng.normal(size=37).round(1), rng.normal(0.4, 1.3, size=52).round(1)  # with ties
    found = membership_auc(train, validation)
    labels = np.r_[np.zeros(37), np.ones(52)]
    assert found.value == pytest.approx(roc_auc_score(labels, np.r_[train, validation]))
    wins = (train[:, None] < validation) + 0.5 * (train[:, None] == validation)
    assert found.value == pytest.approx(wins.mean())
    delong = np.var(wins.mean(0), ddof=1) / 52 + np.var(wins.mean(1), ddof=1) / 37
    assert found.error == pytest.approx(delong**0.5)


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0])
def test_the_interval_covers(shift: float) -> None:
    """P(N(0, 1) < N(shift, 1)) = Phi(shift / sqrt 2)."""
    hits, rounds, rng = 0, 1000, np.random.default_rng(99)
    for _ in range(rounds):
        low, high = membership_auc(rng.normal(size=120), rng.normal(shift, 1, size=120)).interval()
        hits += low <= norm.cdf(shift / 2**0.5) <= high
    assert 0.93 <= hits / rounds <= 0.97


def test_rows_told_apart_and_not() -> None:
    assert membership_auc(np.arange(5.0), np.arange(5.0) + 10).value == 1.0
    assert membership_auc(np.ones(5), np.ones(9)).value == 0.5
