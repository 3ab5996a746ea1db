import numpy as np
import pytest
from scipy import stats

from finelab.studies.statistics.interval import clopper_pearson
from finelab.studies.statistics.outperforming import outperforming


def test_counts_wins_by_the_mode() -> None:
    d = [0.1, -0.2, 0.3, 0.4, 0.0]
    assert outperforming(d, "max").value == pytest.approx(0.7)
    assert outperforming(d, "min").value == pytest.approx(0.3)
    assert outperforming([1.0] * 5, "max") == clopper_pearson(5, 5)
    assert outperforming([1.0] * 5, "max").low == pytest.approx(0.025 ** (1 / 5))


def test_covers_with_ties() -> None:
    """Ties as halves: every study of 5 replicates, by its exact probability."""
    n, worst = 5, 1.0
    studies = [(w, t) for w in range(n + 1) for t in range(n + 1 - w)]
    found = [outperforming([1.0] * w + [0.0] * t + [-1.0] * (n - w - t), "max") for w, t in studies]
    for win in np.linspace(0, 1, 21):
        for tie in np.linspace(0, 1 - win, 11):
            true = win + tie / 2
            chance = [
                stats.multinomial.pmf((w, t, n - w - t), n, (win, tie, max(0, 1 - win - tie))) for w, t in studies
            ]
            covered = sum(c for c, i in zip(chance, found, strict=True) if i.low - 1e-9 <= true <= i.high + 1e-9)
            worst = min(worst, covered)
    assert worst >= 0.95
