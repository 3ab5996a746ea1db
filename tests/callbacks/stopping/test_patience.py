import numpy as np
import pytest

from finelab.callbacks.stopping import Curve, Patience
from finelab.contracts.errors import UserError

NAN = float("nan")


def stopped(criterion: Patience, errors, **options) -> int | None:
    """Evaluations until it stops."""
    counts = range(1, len(errors) + 1)
    return next((count for count in counts if criterion.judge(Curve(errors[:count], **options)).stops), None)


def lightnings(errors, patience: int, min_delta: float) -> int | None:
    """Lightning's rule, after its source."""
    best, waited = float("inf"), 0
    for count, error in enumerate(errors, 1):
        if error + min_delta < best:
            best, waited = error, 0
        else:
            waited += 1
            if waited >= patience:
                return count
    return None


@pytest.mark.parametrize("min_delta", [0.0, 0.75])
def test_it_stops_where_lightnings_does(min_delta) -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        errors = (generator.normal(size=25) * 4).round().tolist()
        for patience in (1, 2, 4):
            found = stopped(Patience(patience), errors, min_delta=4 * min_delta)
            assert found == lightnings(errors, patience, 4 * min_delta), errors


@pytest.mark.parametrize(("patience", "median"), [(1, 2.5), (2, 4), (3, 6), (5, 9), (10, 17)])
def test_on_flat_noise_it_is_close_to_a_coin_flip(patience, median) -> None:
    """With a patience of 1 just half of all runs end at 2, so that any number from 2 to 3 is a median."""
    curves = np.random.default_rng(patience).normal(size=(1501, 60)).tolist()
    found = [stopped(Patience(patience), curve) or len(curve) for curve in curves]
    assert np.median(found) == pytest.approx(median, abs=0.5)


def test_an_undefined_error_is_no_improvement() -> None:
    assert stopped(Patience(2), [NAN, 0.5, NAN, 0.6]) == 4
    assert stopped(Patience(2), [NAN, NAN]) == 2
    assert stopped(Patience(2), [0.5, NAN, 0.4, NAN, 0.3]) is None


def test_small_gains_add_up() -> None:
    errors = [1 - 0.04 * count for count in range(12)]
    assert stopped(Patience(3), errors, min_delta=0.1) is None, "three of them exceed the smallest change"
    assert stopped(Patience(2), errors, min_delta=0.1) == 3


def test_within_the_noise_nothing_counts() -> None:
    errors = [1.0, 0.9, 0.95, 1.2, 0.95, 1.2, 1.3, 1.4, 0.5]
    assert stopped(Patience(3), errors) == 5
    assert stopped(Patience(3), errors, noise=lambda newer, older: 0.1) == 8, "0.95 starts the count anew"
    assert stopped(Patience(3), errors, noise=lambda newer, older: 0.4) is None
    asked = []
    stopped(Patience(9), errors, noise=lambda *pair: asked.append(pair) or 0.1)
    assert {older for _, older in asked} == {1}, "the noise is that of the evaluation and the best before it"


def test_what_it_says() -> None:
    judgement = Patience(2).judge(Curve([1.0, 2.0, 2.0]))
    assert (judgement.value, judgement.threshold, judgement.stops) == (2, 2, True)


@pytest.mark.parametrize("options", [{"patience": -2}], ids=["patience -2"])
def test_what_no_run_could_be_judged_by_is_refused(options) -> None:
    with pytest.raises(UserError, match=f"{next(iter(options))} (is|{next(iter(options.values()))})"):
        Patience(**options)
