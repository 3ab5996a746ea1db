import numpy as np
import pytest

from finelab.callbacks.evidence.gap import gap, gap_growth
from finelab.callbacks.evidence.half import Half


def a_half(rows: int, rise: float, seed: int) -> Half:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 20, rows).astype(float)
    per_token = rng.gamma(2, 0.5, rows) + np.arange(3)[:, None] * rise + 0.1 * rng.normal(size=(3, rows))
    return Half(per_token * tokens, tokens, np.arange(rows))


def test_the_interval_is_the_bootstraps() -> None:
    train, validation = a_half(150, -0.2, 1), a_half(200, 0.1, 2)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(2000):
        i, j = rng.integers(0, 150, 150), rng.integers(0, 200, 200)
        means = [x.losses[:, k].sum(1) / x.tokens[k].sum() for x, k in ((train, i), (validation, j))]
        curve = means[1] - means[0]
        drawn.append((curve[2], curve[2] - curve[1]))
    now, growth = gap(train, validation, 2), gap_growth(train, validation, 2, 1)
    assert (now.value, growth.value) == (
        pytest.approx(validation.mean[2] - train.mean[2]),
        pytest.approx((validation.mean - train.mean)[2] - (validation.mean - train.mean)[1]),
    )
    assert [now.error, growth.error] == [pytest.approx(x, rel=0.08) for x in np.std(drawn, axis=0)]
    assert growth.interval() == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975], axis=0)[:, 1]), abs=0.006)
    assert growth.error < now.error / 3, "rows are paired with themselves"
