"""Which trial an arm is reported with, and which arms are run once more."""

import itertools

import pytest

from finelab.studies.arm import Arm
from finelab.studies.selection import best_trial, companions, survivors


@pytest.mark.parametrize(("mode", "expected"), [("max", 2), ("min", 1)])
def test_the_best_mean_over_seeds_wins(mode, expected):
    assert best_trial({0: [0.5, 0.5], 1: [0.9, 0.0], 2: [0.6, 0.6]}, mode) == expected


def test_of_equal_trials_the_lower_is_taken_whatever_the_order():
    values = {2: [0.7], 0: [0.1], 1: [0.7]}
    assert {best_trial(dict(order), "max") for order in itertools.permutations(values.items())} == {1}


def test_a_trial_with_a_failed_seed_loses_to_every_whole_one():
    assert best_trial({0: [0.99, None], 1: [0.1, 0.1]}, "max") == 1
    assert best_trial({0: [None], 1: [None]}, "max") is None
    assert best_trial({}, "max") is None


def test_survivors_are_better_and_the_largest_first():
    found = {"a": [[0.1, 0.1]], "b": [[0.3, 0.2]], "c": [[-0.5, 0.2]], "d": [[0.2, 0.3]], "e": [[0.0, 0.0]]}
    assert survivors(found, "max", 5) == ("b", "d", "a")
    assert survivors(found, "max", 1) == ("b",)
    assert survivors(found, "min", 5) == ("c",)
    assert survivors(found, "max", 2, barred={"b"}) == ("d", "a")


def test_one_pair_says_nothing_and_every_task_counts_the_same():
    assert survivors({"a": [[0.9]], "b": [[]], "c": []}, "max", 3) == ()
    by_task = {"a": [[0.3, 0.3], [-0.1, -0.1, -0.1, -0.1, -0.1, -0.1]], "b": [[1.0, 1.0], [0.1]]}
    assert survivors(by_task, "max", 3) == ("a",)


def test_survivors_bring_what_they_are_compared_with():
    arms = [Arm("base", {}), Arm("x", {}, "base", "x placebo"), Arm("x placebo", {}, "base"), Arm("y", {}, "x")]
    assert companions(["x"], arms) == ("base", "x", "x placebo")
    assert companions(["y"], arms) == ("x", "y")
    assert companions([], arms) == ()
