"""How the measures' time is counted and compared."""

import time

import pytest
from probe_overhead import Times, summary


def burn(seconds):
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass


class Inner:
    def on_validation_end(self):
        burn(0.02)


class Outer:
    def __init__(self, inner):
        self.inner = inner

    def on_validation_epoch_end(self):
        self.inner.on_validation_end()


def test_time_inside_another_measure_is_counted_once():
    times, inner = Times(), Inner()
    outer = Outer(inner)
    times.watch(inner)
    times.watch(outer)
    outer.on_validation_epoch_end()
    assert times.cpu["Inner"] == 0
    assert 0.02 <= times.cpu["Outer"] < 0.04


def run(measured, **more):
    own = {"training cpu": 110.0, "measures in training cpu": 10.0, "validation cpu": 4.0, "steps": 50}
    return {"measured": measured, "parts cpu": {"Probes": 12.0, "Forgetting": 4.0}} | own | more


def test_overhead_is_the_measures_over_training_without_them():
    plain = run(False, **{"training cpu": 104.0, "parts cpu": {}})
    found = summary([plain, run(True)], 1, None)
    assert found["overhead of this run"] == pytest.approx(16 / 104, abs=1e-4)
    assert found["overhead at 3 epochs"] == pytest.approx((3 * 10 + 6) / (3 * 104), abs=1e-4)
    assert found["within"]


def test_one_side_takes_the_measures_off_its_own_training():
    assert summary([run(True)], 1, None)["training without, cpu s"] == 100


def test_a_part_of_an_epoch_stands_for_the_whole():
    """Its steps, not its validation."""
    assert summary([run(True)], 1, 200)["training without, cpu s"] == pytest.approx((100 - 4) * 4 + 4)
