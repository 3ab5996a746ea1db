import numpy as np
import pytest
from scipy import stats

from finelab.callbacks.evidence.half import Half
from finelab.callbacks.evidence.progress import progress
from finelab.callbacks.evidence.slopes import doubling_window, per_doubling


def test_it_is_a_t_test_over_the_slopes_of_rows() -> None:
    rng = np.random.default_rng(0)
    travelled = np.array([1.0, 2.0, 4.0, 5.0, 6.0, 8.0])
    losses = rng.normal(size=(6, 30)) + rng.normal(size=30)
    found = per_doubling(Half(losses, np.ones(30), np.arange(30)), travelled)
    slopes = [np.polyfit(np.log2(travelled[2:]), row[2:], 1)[0] for row in losses.T]
    expected = stats.ttest_1samp(slopes, 0, alternative="less")
    assert found is not None
    assert found.value == pytest.approx(np.mean(slopes))
    assert found.p_below == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(
    ("travelled", "window"),
    [
        ([1, 2, 3, 4], slice(1, 4)),
        ([3, 4], slice(0, 2)),
        ([1, 9, 10], slice(0, 3)),
        ([0, 0, 10], None),
        ([0, 0, 5, 10], slice(2, 4)),
        ([5, 5], None),
        ([0, 0], None),
    ],
    ids=str,
)
def test_the_window_is_the_last_half_of_the_way(travelled, window) -> None:
    assert doubling_window(np.array(travelled, dtype=float)) == window


def test_a_decayed_rate_is_no_convergence() -> None:
    """The loss falls by one nat a doubling; over the last steps the rate was next to nothing, and the loss stood."""
    steps = np.arange(1, 21)
    travelled = np.cumsum(np.maximum(1 - steps / 20, 0.001))
    half = Half(np.tile(-np.log2(travelled)[:, None], 8), np.ones(8), np.arange(8))
    assert half.mean[-4] - half.mean[-1] < 0.05
    found = per_doubling(half, travelled)
    assert found is not None
    assert found.value == pytest.approx(-1.0)


def test_progress_knows_the_way_behind() -> None:
    """exp(-x) over x = 1..6: the straight line back from 1 and 2 reaches 0.6, the given start 1."""
    travelled = np.arange(1.0, 7.0)
    half = Half(np.tile(np.exp(-travelled)[:, None], 8), np.ones(8), np.arange(8))
    back, given = progress(travelled, half, None, None), progress(travelled, half, half, 1.0)
    assert back is not None and given is not None
    assert back.gain == pytest.approx(2 * np.exp(-1) - np.exp(-2) - np.exp(-6))
    assert given.gain == pytest.approx(1 - np.exp(-6))
    assert given.promised == pytest.approx(np.exp(-3) - np.exp(-6), rel=0.3)
    assert given.still_falls(0.05) and back.still_falls(0.05)
