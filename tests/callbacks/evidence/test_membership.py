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


def test_each_row_in_a_document_of_its_own_is_delong() -> None:
    rng = np.random.default_rng(2)
    train, validation = rng.normal(size=31), rng.normal(0.5, 1, size=44)
    assert membership_auc(train, validation, np.arange(31) + 7, np.arange(44)) == membership_auc(train, validation)


def test_against_obuchowskis_formula() -> None:
    """Documents of three and of four rows; var = sum over both sides of G / (G - 1) sum_g (sum (V - AUC))^2 / n^2."""
    rng = np.random.default_rng(3)
    train, validation = rng.normal(size=36), rng.normal(0.4, 1, size=40)
    wins = (train[:, None] < validation).astype(float)
    variance = 0.0
    for placements, each in ((wins.mean(1), 3), (wins.mean(0), 4)):
        sums = (placements - wins.mean()).reshape(-1, each).sum(1)
        variance += len(sums) / (len(sums) - 1) * (sums @ sums) / len(placements) ** 2
    found = membership_auc(train, validation, np.arange(36) // 3, np.arange(40) // 4)
    assert found.value == pytest.approx(wins.mean()) and found.error == pytest.approx(variance**0.5)


def test_the_interval_covers_where_rows_share_documents() -> None:
    """32 documents of 16 rows a side, half of the variance between documents: 48 % missed with rows as units."""
    by_rows, by_documents, rounds, rng = 0, 0, 400, np.random.default_rng(1)
    units = np.arange(512) // 16
    for _ in range(rounds):
        train, validation = rng.normal(size=(2, 32))[:, units] + rng.normal(size=(2, 512))
        for documents in (False, True):
            low, high = membership_auc(train, validation, *([units, units] if documents else [])).interval()
            missed = not low <= 0.5 <= high
            by_documents, by_rows = by_documents + (missed and documents), by_rows + (missed and not documents)
    assert by_rows / rounds > 0.3
    assert 0.02 <= by_documents / rounds <= 0.08


def test_rows_told_apart_and_not() -> None:
    assert membership_auc(np.arange(5.0), np.arange(5.0) + 10).value == 1.0
    assert membership_auc(np.ones(5), np.ones(9)).value == 0.5
