import numpy as np
import pytest
from scipy.stats import norm

from finelab.callbacks.evidence.given_away import given_away
from finelab.callbacks.evidence.half import Half
from finelab.callbacks.evidence.looks import level
from finelab.callbacks.evidence.onset import onset


def a_half(losses: np.ndarray) -> Half:
    return Half(losses, np.ones(losses.shape[1]), np.arange(losses.shape[1]))


def flat(rng: np.random.Generator, evaluations: int, rows: int, memory: float) -> np.ndarray:
    """[T, n] with no trend at all."""
    drawn = rng.standard_normal((evaluations, rows))
    for t in range(1, evaluations):
        drawn[t] = memory * drawn[t - 1] + (1 - memory**2) ** 0.5 * drawn[t]
    return drawn + rng.standard_normal(rows)


def test_the_rows_that_chose_the_checkpoint_raise_a_third_false_alarms() -> None:
    """methods 3.4: 33 % at a nominal 5 % over 20 evaluations of a flat curve; 5 % on other rows."""
    rng, rounds = np.random.default_rng(0), 1500
    same = other = crossed = 0
    for _ in range(rounds):
        a, b = (a_half(flat(rng, 20, 60, 0.0)) for _ in range(2))
        best = int(np.argmin(a.mean[:-1]))
        same += a.rise(19, best).p_above <= 0.05
        other += b.rise(19, best).p_above <= 0.05
        crossed += given_away(a, b).estimate.p_above <= 0.05
    assert 0.29 <= same / rounds <= 0.37
    assert 0.038 <= other / rounds <= 0.064
    assert crossed / rounds <= 0.055


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0.0, 0.7, 0.95])
@pytest.mark.parametrize("evaluations", [2, 3, 5, 10, 20, 100])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_error_rate_holds_on_flat_curves(evaluations: int, memory: float, alpha: float) -> None:
    """Means of very many rows, drawn as such: 40,000 curves each."""
    rng, rounds = np.random.default_rng(evaluations), 40_000
    alarms = 0
    for _ in range(rounds // 2000):
        curves = [flat(rng, evaluations, 2000, memory) for _ in range(2)]  # a column is a curve
        last, each = evaluations - 1, np.arange(2000)
        total, variance, parts = np.zeros(2000), np.zeros(2000), []
        for own, other in (curves, curves[::-1]):
            best = own[:-1].argmin(0)
            total += other[last] - other[best, each]
            parts.append(2 * (1 - memory ** (last - best)))
        variance = sum(parts) + 2 * 0.27 * np.sqrt(parts[0] * parts[1])
        alarms += int((total / np.sqrt(variance) > norm.isf(alpha)).sum())
    assert alarms / rounds <= alpha + 3 * (alpha / rounds) ** 0.5


def stopped(rng: np.random.Generator, patience: int, memory: float) -> np.ndarray:
    """[2, T] means of both halves on a flat curve, until their sum has not improved for so many evaluations."""
    curves = np.stack([flat(rng, 30, 1, memory)[:, 0] for _ in range(2)])
    best = 0
    for now, total in enumerate(curves.sum(0)):
        if total < curves.sum(0)[best]:
            best = now
        elif now - best >= patience:
            return curves[:, : now + 1]
    return curves


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0.0, 0.8])
@pytest.mark.parametrize("patience", [2, 3, 5])
def test_a_stop_that_looked_at_the_losses_makes_no_more_alarms(patience: int, memory: float) -> None:
    rng, rounds, alarms = np.random.default_rng(patience), 15_000, 0
    for _ in range(rounds):
        curves = stopped(rng, patience, memory)
        last, total, parts = curves.shape[1] - 1, 0.0, []
        for own, other in (curves, curves[::-1]):
            best = int(own[:last].argmin())
            total += other[last] - other[best]
            parts.append(2 * (1 - memory ** (last - best)))
        z = total / (sum(parts) + 2 * 0.27 * (parts[0] * parts[1]) ** 0.5) ** 0.5
        alarms += z > norm.isf(level(0.05, last + 1, 30, finished=True))
    assert alarms / rounds <= 0.055


def test_a_rise_is_what_it_is() -> None:
    """Each half chooses the same evaluation, so that the estimate is the mean of both rises."""
    rng = np.random.default_rng(0)
    curve = np.array([1.0, 0.5, 0.6, 0.9])
    a, b = (a_half(curve[:, None] + 0.05 * rng.normal(size=(4, 50)) + rng.normal(size=50)) for _ in range(2))
    found = given_away(a, b)
    assert found.chosen == (1, 1) and found.rose
    assert found.estimate.value == pytest.approx((a.rise(3, 1).value + b.rise(3, 1).value) / 2)
    assert found.estimate.error == pytest.approx(
        (a.rise(3, 1).error ** 2 + b.rise(3, 1).error ** 2 + 0.54 * a.rise(3, 1).error * b.rise(3, 1).error) ** 0.5 / 2
    )
    assert found.estimate.value == pytest.approx(0.4, abs=0.05)


def test_the_rise_is_dated() -> None:
    curve = np.array([1.0, 0.8, 0.5, 0.5, 0.5, 0.55, 0.6, 0.58, 0.7])
    dates = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        both = a_half(curve[:, None] + 0.1 * rng.normal(size=(9, 400)) + rng.normal(size=400))
        dates.append(onset(both, int(np.argmin(both.mean))))
        assert onset(both, 8) == 8
    assert dates.count(5) >= 65
    assert {3, 4, 5} >= set(dates), "the valley is flat"
    assert onset(a_half(np.array([[1.0], [0.5], [0.6]])), 1) == 2
