"""The interval of a calibration error covers the true one, whether the model is calibrated or not."""

import numpy as np
import pytest

from finelab.callbacks import calibration_interval
from finelab.callbacks.calibration_interval import CalibrationInterval


def drawn(rng, rows, shift):
    """Confidences, and answers that are right that often less a shift."""
    confidence = rng.beta(5, 1.5, rows) * 0.8 + 0.2
    return confidence, (rng.random(rows) < confidence - shift).astype(float)


@pytest.mark.parametrize(("shift", "least"), [(0.0, 0.93), (0.15, 0.88)], ids=["calibrated", "overconfident"])
def test_it_covers_the_true_error(shift, least, monkeypatch):
    """Of every bin the gap is the shift, which is then the ECE itself. 150 sets of 300 rows."""
    monkeypatch.setattr(calibration_interval, "RESAMPLES", 300)
    monkeypatch.setattr(calibration_interval, "SIMULATED", 100)
    rng = np.random.default_rng(0)
    found = [CalibrationInterval.of(*drawn(rng, 300, shift), np.arange(300)) for _ in range(150)]
    covered = np.mean([each.low <= shift <= each.high for each in found])
    assert covered >= least
    from_zero = np.mean([each.low == 0 for each in found])
    assert from_zero >= 0.9 if shift == 0 else from_zero <= 0.01


def test_a_calibrated_model_has_an_error_above_zero_with_few_rows():
    rng = np.random.default_rng(1)
    few, many = (CalibrationInterval.of(*drawn(rng, rows, 0.0), np.arange(rows)) for rows in (60, 6000))
    assert few.calibrated > 0.08 > 0.02 > many.calibrated
    assert few.calibrated < few.calibrated_95


def test_words_of_one_row_are_drawn_together():
    """Ten copies of each answer say no more than one."""
    rng = np.random.default_rng(2)
    confidence, right = drawn(rng, 200, 0.15)
    once = CalibrationInterval.of(confidence, right, np.arange(200))
    copied = [np.repeat(values, 10) for values in (confidence, right, np.arange(200))]
    together = CalibrationInterval.of(*copied)
    apart = CalibrationInterval.of(copied[0], copied[1], np.arange(2000))
    assert together.high - together.low == pytest.approx(once.high - once.low, rel=0.15)
    assert apart.high - apart.low < 0.5 * (together.high - together.low)


def test_no_draw_of_anyone_moves():
    state = np.random.get_state()[1].copy()
    first = CalibrationInterval.of(np.full(50, 0.7), np.ones(50), np.arange(50))
    assert (np.random.get_state()[1] == state).all()
    assert first == CalibrationInterval.of(np.full(50, 0.7), np.ones(50), np.arange(50))
