"""Settings of a search: the default first, in the declared space, the same whatever else is searched."""

import math

import pytest

from finelab.contracts.seeds import Seeds
from finelab.studies.study import Dimension, MetricSpec, Tune
from finelab.studies.trial_values import different_settings
from finelab.studies.tuning import known_trials, next_trial

DEFAULT = {"lr": 1e-3, "r": 8}
RATE = Dimension("lr", times=(0.3, 3.0))
RANK = Dimension("r", values=(4, 8, 16))


def tuned(*space: Dimension, trials: int = 3, sampler="grid") -> Tune:
    return Tune(space, trials, (Seeds.of(901),), MetricSpec("accuracy", "validation", "max"), sampler)


def test_a_grid_is_the_default_and_then_the_file_s_order():
    assert known_trials(tuned(RATE), DEFAULT, ("a",)) == [{"lr": 1e-3}, {"lr": 3e-4}, {"lr": 3e-3}]
    both = known_trials(tuned(RATE, RANK, trials=7), DEFAULT, ("a",))
    assert both[0] == DEFAULT and len(both) == 7
    assert [tuple(s.values()) for s in both[1:4]] == [(3e-4, 4), (3e-4, 8), (3e-4, 16)]
    assert known_trials(tuned(RATE, RANK, trials=4), DEFAULT, ("a",)) == both[:4]


def test_a_listed_default_is_no_second_trial():
    assert known_trials(tuned(RANK, trials=4), DEFAULT, ("a",)) == [{"r": 8}, {"r": 4}, {"r": 16}]


def test_draws_are_an_arm_s_own_and_counted():
    wide = Dimension("lr", low=1e-6, high=1.0, log=True)
    drawn = known_trials(tuned(wide, trials=400, sampler="random"), DEFAULT, ("a",))
    assert drawn[:5] == known_trials(tuned(wide, trials=5, sampler="random"), DEFAULT, ("a",))
    assert drawn[1:] != known_trials(tuned(wide, trials=400, sampler="random"), DEFAULT, ("b",))[1:]
    assert drawn[0] == {"lr": 1e-3} and all(1e-6 <= s["lr"] <= 1 for s in drawn)
    assert sum(math.log10(s["lr"]) for s in drawn) / 400 == pytest.approx(-3, abs=0.3)
    other = known_trials(tuned(wide, RANK, trials=5, sampler="random"), DEFAULT, ("a",))
    assert [s["lr"] for s in other] == [s["lr"] for s in drawn[:5]]


@pytest.mark.parametrize("log", [False, True])
def test_whole_numbers_stay_whole_and_both_ends_are_met(log):
    space = Dimension("r", low=1, high=4, log=log), Dimension("lr", low=1e-6, high=1.0, log=True)
    found = [s["r"] for s in known_trials(tuned(*space, trials=300, sampler="random"), DEFAULT, ("a",))[1:]]
    assert set(found) == {1, 2, 3, 4} and all(isinstance(r, int) for r in found)


LISTS = (RANK, Dimension("lr", values=(1e-3, 3e-4, 1e-4, 1e-4)))


@pytest.mark.parametrize("arm", ["a", "b", "c"])
@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_no_setting_is_tried_twice_and_a_finite_space_is_tried_whole(sampler, arm):
    if sampler == "tpe":
        pytest.importorskip("optuna")
    search = tuned(*LISTS, trials=9, sampler=sampler)
    assert different_settings(search, DEFAULT) == 9
    tried = [(setting, -abs(setting["r"] - 8.0)) for setting in known_trials(search, DEFAULT, (arm,))]
    while (setting := next_trial(search, DEFAULT, tried, (arm,))) is not None:
        tried.append((setting, -abs(setting["r"] - 8.0)))
    assert len({tuple(setting.items()) for setting, _ in tried}) == len(tried) == 9 and tried[0][0] == DEFAULT


def test_different_settings_are_counted_with_the_default():
    def count(*space, sampler="random", default=DEFAULT):
        return different_settings(tuned(*space, sampler=sampler), default)

    assert count(RATE) == 3 and count(RANK) == 3 and count(RATE, RANK) == 2 * 3 + 1
    assert count(RATE, RANK, sampler="tpe") == 3 * 3, "its lists hold the default"
    assert count(Dimension("r", low=1, high=4)) == 5 and count(Dimension("r", low=1, high=8)) == 8
    assert count(RANK, Dimension("lr", low=1e-6, high=1.0)) is None
    few = known_trials(tuned(RATE, trials=9, sampler="random"), DEFAULT, ("a",))
    assert sorted(setting["lr"] for setting in few) == [3e-4, 1e-3, 3e-3]


def test_only_a_search_that_learns_asks_for_more():
    assert next_trial(tuned(RATE), DEFAULT, [({"lr": 1e-3}, 0.5)], ("a",)) is None
    learning = tuned(Dimension("lr", low=1e-6, high=1.0, log=True), trials=4, sampler="tpe")
    pytest.importorskip("optuna")
    tried = [(setting, 0.5) for setting in known_trials(learning, DEFAULT, ("a",))]
    assert len(tried) == 2
    while (setting := next_trial(learning, DEFAULT, tried, ("a",))) is not None:
        tried.append((setting, setting["lr"]))
    assert len(tried) == 4
