"""Scores over a numeric factor."""

import dataclasses

import numpy as np
import pytest

from finelab.studies.analysis.analyse import analyse
from finelab.studies.arm import Arm
from finelab.studies.study import Factor, Level

from ..made_up import MadeUp, a_study, a_trail


def of(made: MadeUp):
    return analyse(made.plan, made.results, made.unfinished)


def numeric(tmp_path, view: str, levels: list[str], replicates: int = 5, **changes) -> MadeUp:
    """A study along one numeric factor."""
    factor = Factor("rows", tuple(Level(name, {}, "study.yaml:1") for name in levels))
    study = a_study(tmp_path, levels, replicates, factors=(factor,), baseline={"rows": levels[0]},
                    views={view: "rows"}, **changes)  # fmt: skip
    arms = [Arm(name, {"rows": name}, levels[0] if index else None) for index, name in enumerate(levels)]
    return MadeUp(study, arms)


def test_a_learning_curve_names_the_size_from_which_it_is_flat(tmp_path) -> None:
    sizes = ["100", "200", "400", "800", "1600", "3200", "6400"]
    made = numeric(tmp_path, "learning_curve", sizes, 8, margin=0.02)
    rng = np.random.default_rng(0)
    for size in sizes:
        for replicate in range(8):
            cell = made.cell(size, replicate, train_rows=int(size))
            value = 0.9 - 4.0 / float(size) ** 0.8 + 0.002 * rng.normal()
            made.finish(cell, {"accuracy": value}, trail=a_trail(cell.seeds, other=int(size)))
    found = of(made)
    (curve,) = found.curves
    assert curve.x == [float(size) for size in sizes] and curve.fit["a"].value == pytest.approx(0.9, abs=0.01)
    assert curve.flat_at is not None and 300 < curve.flat_at.value < 3000
    assert curve.sentence in found.verdict and "it stays within 0.02 of that" in curve.sentence
    assert curve.fitted[0][0] == pytest.approx(100) and curve.fitted[-1][0] == pytest.approx(6400)
    assert all(contrast.pairing.startswith("paired by seed, not by data order") for contrast in found.contrasts)


def test_a_curve_without_a_fit_says_why(tmp_path) -> None:
    made = numeric(tmp_path, "learning_curve", ["100", "200"], 2)
    for size, value in (("100", 0.5), ("200", 0.6)):
        for replicate in range(2):
            made.finish(made.cell(size, replicate), {"accuracy": value + 0.01 * replicate})
    (curve,) = of(made).curves
    assert "No learning curve is fitted: 2 sizes are too few" in curve.sentence and not curve.fit


def test_a_strength_curve_says_where_its_best_is(tmp_path) -> None:
    made = numeric(tmp_path, "strength", ["0", "0.1", "1", "10"])
    for level, gain in (("0", 0.0), ("0.1", 0.1), ("1", 0.101), ("10", -0.1)):
        for replicate in range(5):
            jitter = 0.01 * ((replicate + len(level)) % 3)
            made.finish(made.cell(level, replicate), {"accuracy": 0.5 + gain + jitter})
    (curve,) = of(made).curves
    assert curve.x == [0.0, 0.1, 1.0, 10.0] and "the best mean is at" in curve.sentence
    assert "not significantly worse" in curve.sentence and "edge" not in curve.sentence


def test_each_task_has_its_own_learning_curve(tmp_path) -> None:
    sizes, limits = ["100", "200", "400", "800", "1600"], {"easy": 0.9, "hard": 0.6}
    made = numeric(tmp_path, "learning_curve", sizes, 4, tasks="data")
    tasks = Factor("data", tuple(Level(name, {}, "study.yaml:1") for name in limits))
    study = dataclasses.replace(made.study, factors=(*made.study.factors, tasks))
    made = MadeUp(study, made.arms)
    rng = np.random.default_rng(0)
    for task, limit in limits.items():
        for size in sizes:
            for replicate in range(4):
                value = limit - 4.0 / float(size) ** 0.8 + 0.001 * rng.normal()
                made.finish(made.cell(size, replicate, task=task, train_rows=int(size)), {"accuracy": value})
    found = of(made).curves
    assert [curve.arm for curve in found] == ["on easy", "on hard"]
    for curve, limit in zip(found, limits.values(), strict=True):
        assert curve.fit["a"].value == pytest.approx(limit, abs=0.01) and curve.fit["a"].n == 4, (
            "seeds, not seeds x tasks"
        )
        assert curve.sentence.startswith(f"{curve.arm}: The fitted learning curve has its limit at")
