import math

import pytest

from finelab.callbacks.stopping import PQ, Curve
from finelab.callbacks.stopping.pq import training_progress
from finelab.contracts.errors import UserError

ERRORS, TRAIN = (1, 0.8, 0.7, 0.75, 0.8), (1, 0.9, 0.8, 0.72, 0.65)


def test_the_published_numbers() -> None:
    assert training_progress(TRAIN) == pytest.approx(252.3077, abs=5e-5)
    assert PQ().judge(Curve(ERRORS, TRAIN)).value == pytest.approx(0.05662, abs=5e-6)
    assert PQ(0.056).judge(Curve(ERRORS, TRAIN)).stops
    assert not PQ(0.057).judge(Curve(ERRORS, TRAIN)).stops


def test_only_the_end_of_a_strip_stops() -> None:
    errors, train = [0.5] + [1.0] * 11, [1.0, 0.9] * 6
    ends = [count for count in range(1, 13) if PQ(0.1, k=4).judge(Curve(errors[:count], train[:count])).stops]
    assert ends == [4, 8, 12]
    assert PQ(k=4).judge(Curve(errors[:7], train[:7])).value == 0


def test_the_strip_is_the_newest() -> None:
    curve = Curve((*ERRORS, 0.7, 0.7, 0.7, 0.7, 0.77), (*TRAIN, 0.5, 0.5, 0.5, 0.5, 0.4))
    assert PQ().judge(curve).value == pytest.approx(10 / (1000 * (2.4 / (5 * 0.4) - 1)))


def test_a_training_error_at_rest_forgives_nothing() -> None:
    still = [0.3] * 5
    assert training_progress(still) == 0
    assert PQ().judge(Curve(ERRORS, still)).value == math.inf
    assert not PQ().judge(Curve([0.5] * 5, still)).stops, "nothing was lost"
    assert training_progress([0.1, 0.0]) == math.inf
    assert PQ().judge(Curve(ERRORS, (1, 0.5, 0.2, 0.1, 0.0))).value == 0


def test_a_loss_within_the_noise_does_not_count() -> None:
    assert not PQ(0.05).judge(Curve(ERRORS, TRAIN, noise=lambda newer, older: 0.11)).stops


@pytest.mark.parametrize(
    "options", [{"alpha": 0.0}, {"k": 1}, {"k": 0}, {"k": -5}], ids=["alpha 0.0", "k 1", "k 0", "k -5"]
)
def test_what_no_run_could_be_judged_by_is_refused(options) -> None:
    with pytest.raises(UserError, match=f"{next(iter(options))} (is|{next(iter(options.values()))})"):
        PQ(**options)
