import math

import pytest

from finelab.callbacks.stopping import GL, Curve
from finelab.contracts.errors import UserError

ERRORS = (1, 0.8, 0.7, 0.75, 0.8)


def test_the_published_numbers() -> None:
    assert GL().judge(Curve(ERRORS)).value == pytest.approx(14.2857, abs=5e-5)
    assert [GL().judge(Curve(ERRORS[:count])).value for count in (1, 2, 3)] == [0, 0, 0]
    assert GL().judge(Curve(ERRORS[:4])).value == pytest.approx(100 * 0.05 / 0.7)


def test_it_stops_above_alpha() -> None:
    curve = Curve((1.0, 0.5, 0.75))
    assert GL(49.9).judge(curve).stops
    assert not GL(50.0).judge(curve).stops, "more than alpha, not as much"


def test_it_is_relative() -> None:
    for scale in (1e-3, 1, 50):
        assert GL().judge(Curve([scale * error for error in ERRORS])).value == pytest.approx(14.2857, abs=5e-5)


def test_a_loss_within_the_noise_does_not_count() -> None:
    assert GL(5).judge(Curve(ERRORS, noise=lambda newer, older: 0.09)).stops
    assert not GL(5).judge(Curve(ERRORS, noise=lambda newer, older: 0.11)).stops
    assert not GL(5).judge(Curve(ERRORS, min_delta=0.11)).stops
    asked = []
    GL(5).judge(Curve(ERRORS, noise=lambda *pair: asked.append(pair) or 0.0))
    assert asked == [(4, 2)]


def test_undefined_errors_and_an_error_of_zero() -> None:
    assert not GL(5).judge(Curve((math.nan,))).stops
    assert not GL(5).judge(Curve((0.5, math.nan))).stops
    assert GL(5).judge(Curve((math.nan, 0.5, math.nan, 0.6))).value == pytest.approx(20)
    assert not GL(5).judge(Curve((0.5, 0.0, 0.0))).stops
    assert GL(5).judge(Curve((0.5, 0.0, 1e-9))).value == math.inf


@pytest.mark.parametrize(
    "options", [{"alpha": 0.0}, {"alpha": -5.0}, {"alpha": math.nan}], ids=["alpha 0.0", "alpha -5.0", "alpha nan"]
)
def test_what_no_run_could_be_judged_by_is_refused(options) -> None:
    with pytest.raises(UserError, match=f"{next(iter(options))} (is|{next(iter(options.values()))})"):
        GL(**options)
