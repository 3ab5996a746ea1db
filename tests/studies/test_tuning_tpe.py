"""Optuna's TPE, asked again and again: what it says depends on the trials that are over and on nothing else."""

import math
import sys

import pytest

from finelab.contracts.errors import UserError
from finelab.contracts.seeds import Seeds
from finelab.studies.study import Dimension, MetricSpec, Tune
from finelab.studies.tuning_tpe import ask, first_trials, sampler_title

pytest.importorskip("optuna")
ACCURACY = MetricSpec("accuracy", "validation", "max")
RATE = Dimension("lr", low=1e-5, high=1e-1, log=True)
WIDTH = Dimension("r", low=1, high=64, log=True)
SCALE = Dimension("weight", times=(0.1, 10.0))
DEFAULT = {"lr": 1e-3, "r": 8, "weight": 0.5}


def tuned(*space: Dimension, trials: int = 20, metric: MetricSpec = ACCURACY) -> Tune:
    return Tune(space, trials, (Seeds.of(901),), metric, "tpe")


def search(tune: Tune, score, default=DEFAULT, of=("arm",)):
    default = {d.key: default[d.key] for d in tune.space}
    tried = [(default, score(default))]
    for number in range(1, tune.trials):
        setting = ask(tune, default, tried, number, of)
        tried.append((setting, score(setting)))
    return tried


def test_the_same_trials_lead_to_the_same_next_one_in_any_process_and_order_of_asking():
    tune = tuned(RATE, WIDTH, SCALE)
    tried = search(tune, lambda s: -abs(math.log10(s["lr"]) + 2))
    again = {n: ask(tune, DEFAULT, tried[:n], n, ("arm",)) for n in reversed(range(1, tune.trials))}
    assert [again[n] for n in range(1, tune.trials)] == [setting for setting, _ in tried[1:]]
    assert ask(tune, DEFAULT, tried[:5], 5, ("other arm",)) != tried[5][0]


def test_the_first_trials_look_at_no_other():
    tune = tuned(RATE, trials=30)
    assert first_trials(tune) == 10 and first_trials(tuned(RATE, trials=4)) == 2
    tried = search(tune, lambda s: s["lr"])
    assert all(ask(tune, DEFAULT, [], n, ("arm",)) == tried[n][0] for n in range(1, 10))
    assert ask(tune, DEFAULT, [], 10, ("arm",)) != tried[10][0]


def test_settings_lie_in_the_declared_space_and_keep_their_kind():
    drawn = [setting for setting, _ in search(tuned(RATE, WIDTH, SCALE, trials=40), lambda s: s["r"])]
    assert all(1e-5 <= s["lr"] <= 1e-1 and isinstance(s["r"], int) and 1 <= s["r"] <= 64 for s in drawn)
    assert {s["weight"] for s in drawn} == {0.5, 0.05, 5.0}
    words = tuned(Dimension("schedule", values=("linear", "cosine", None)), trials=20)
    found = {s["schedule"] for s, _ in search(words, lambda s: 0.0, {"schedule": "linear"})}
    assert found == {"linear", "cosine", None}


def test_it_finds_a_peak_better_than_chance_does():
    def late(score, mode):
        tune = tuned(RATE, trials=40, metric=MetricSpec("accuracy", "validation", mode))
        return [abs(math.log10(s["lr"]) + 2) for s, _ in search(tune, score)[25:]]

    far = late(lambda s: abs(math.log10(s["lr"]) + 2), "min")
    assert late(lambda s: -abs(math.log10(s["lr"]) + 2), "max") == far
    assert sum(far) / len(far) < 0.5  # 1.25 by chance over four decades


def test_failed_trials_count_as_the_worst_and_are_left():
    def score(setting):
        return None if setting["lr"] > 1e-4 else -abs(math.log10(setting["lr"]) + 4.5)

    tried = search(tuned(RATE, trials=40), score)
    late = [value for _, value in tried[25:]]
    assert sum(value is not None for value in late) > len(late) / 2  # a quarter by chance


def test_an_arm_whose_every_trial_failed_is_still_searched_and_a_default_outside_of_the_range_is_no_obstacle():
    tune = tuned(RATE, trials=6)
    assert len(search(tune, lambda s: None)) == 6
    assert len(search(tune, lambda s: s["lr"], {"lr": 0.5})) == 6


def test_nothing_is_printed_and_the_version_is_known(capsys):
    import optuna

    search(tuned(RATE, trials=4), lambda s: 0.0)
    assert capsys.readouterr() == ("", "")
    assert sampler_title() == f"TPESampler of optuna {optuna.__version__}"


def test_a_missing_optuna_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"finelab\[tune\]"):
        ask(tuned(RATE), DEFAULT, [], 1, ("arm",))
