"""What is due: stage by stage, the same however the cells finish; failures stop nothing else."""

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from finelab.contracts.errors import UserError
from finelab.contracts.seeds import Seeds
from finelab.studies.analysis.contrasts import declared
from finelab.studies.cell import Cell
from finelab.studies.matching import matched_steps
from finelab.studies.plan import Plan
from finelab.studies.resolution import Resolution, Resolved
from finelab.studies.size import stage_sizes
from finelab.studies.stages import differences, due
from finelab.studies.study import Confirm, Dimension, MetricSpec, Tune
from finelab.studies.variants import variants_of

from .made_up import VERSIONS, a_record, a_study, a_trail, arms_of

RATE = Dimension("lr", times=(0.5, 2.0))
WIDE = Dimension("lr", low=1e-5, high=1e-1, log=True)
ARMS = ["base", "good", "bad", "dear", "empty"]
QUALITY = {"base": 0.5, "good": 0.7, "bad": 0.4, "dear": 0.6, "empty": 0.55}
"""The placebo of ``dear`` is ``empty``."""


def seeds(*values: int) -> tuple[Seeds, ...]:
    return tuple(map(Seeds.of, values))


def tuned(trials: int = 3, sampler="grid", space: Dimension = RATE, at=(901, 902)) -> Tune:
    return Tune((space,), trials, seeds(*at), MetricSpec("accuracy", "validation", "max"), sampler)


def a_plan(**changes) -> Plan:
    study = a_study(Path("nowhere"), ARMS, 3, **changes)
    study = dataclasses.replace(study, factors=(*study.factors,), baseline={"method": "base"})
    arms = tuple(arms_of(ARMS, {"dear": "empty"}))
    config = {"seeds": 1, "evaluate_test": False, "trainer": {"max_steps": 5}}
    variants = {arm.name: Resolved({**config, "lr": 0.01, "method": arm.name}, "d1", "b1") for arm in arms}
    return Plan(study, arms, tuple(variants_of(study, arms)), Resolution(variants, VERSIONS, "c0de"))


def value(cell: Cell) -> float:
    """Of the made-up run: the middle rate is best for ``good``, the highest for all others."""
    wanted = 0.01 if cell.arm == "good" else 0.02
    return QUALITY[cell.arm] - abs(cell.config["lr"] - wanted) + 0.001 * (cell.seeds.data % 7)


def finish(cell: Cell):
    return a_record(cell, {"accuracy": value(cell), "nll": 1.0}, 8)


def played(plan: Plan, slots: int = 1, luck: random.Random | None = None, fails=lambda cell: False):
    """Runs a study as a controller does: so many at a time, which end in any order; gives the stages of its starts."""
    finished, failed, running, started = {}, set(), [], []
    while True:
        now = due(plan, finished, failed)
        for cell in now.cells:
            if len(running) < slots and cell not in running:
                running.append(cell)
                started.append(cell)
        if not running:
            return now, started, finished
        ended = running.pop(luck.randrange(len(running)) if luck else 0)
        if fails(ended):
            failed.add(ended.id)
        else:
            finished[ended.id] = finish(ended)


FULL = {"tune": tuned(), "noise": 2, "confirm": Confirm(1, seeds(1001, 1002))}


def test_stages_follow_each_other_and_all_cells_run_once():
    now, started, finished = played(a_plan(**FULL))
    assert now.complete and not now.cells and not now.later and not now.waits
    assert len(started) == len({cell.id for cell in started}) == len(finished)
    stages = [cell.stage for cell in started]
    assert stages.index("report") == stages.count("tune") == 5 * 3 * 2
    assert stages.count("report") == 15 and stages.count("noise") == 4
    assert stages[-4:] == ["confirm"] * 4 and stages.count("confirm") == 4


def test_trials_choose_the_setting_of_all_that_follows():
    now, started, _ = played(a_plan(**FULL))
    assert {arm: trial for (arm, _), trial in now.choices.trials.items()} == {
        "base": 2, "good": 0, "bad": 2, "dear": 2, "empty": 2,
    }  # fmt: skip
    for cell in started:
        if cell.stage != "tune":
            assert cell.config["lr"] == (0.01 if cell.arm == "good" else 0.02)
    assert {cell.stage for cell in started if cell.arm == "base"} == {"tune", "report", "noise", "confirm"}


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_neither_order_nor_slots_change_what_is_run(slots):
    plan = a_plan(**FULL)
    expected, _, _ = played(plan)
    for seed in range(6):
        found, _, _ = played(plan, slots, random.Random(seed))
        assert found.choices == expected.choices and found.planned == expected.planned


def test_partial_results_can_be_compared():
    def reported(started) -> Iterator[tuple[int, str]]:
        return ((cell.replicate, cell.arm) for cell in started if cell.stage == "report")

    _, started, _ = played(a_plan(tune=tuned()))
    assert list(reported(started)) == [(replicate, arm) for replicate in range(3) for arm in ARMS]
    trials = [(cell.trial, cell.replicate) for cell in started if cell.stage == "tune"]
    assert trials == sorted(trials)


def test_a_failed_trial_is_the_worst_one_and_an_arm_without_a_whole_trial_is_blocked():
    def fails(cell: Cell) -> bool:
        return cell.stage == "tune" and (cell.arm == "bad" or (cell.arm == "base" and cell.trial == 2))

    now, started, _ = played(a_plan(**FULL), fails=fails)
    assert now.choices.trials["base", None] == 0
    assert list(now.blocked) == [("bad", None)] and "none of its 3 trials" in now.blocked["bad", None]
    assert not now.complete and not now.later and not now.waits
    assert {cell.arm for cell in started if cell.stage == "report"} == set(ARMS) - {"bad"}


def test_confirmation_waits_for_every_reported_cell_but_not_for_those_that_failed():
    plan = a_plan(confirm=Confirm(2, seeds(1001)))
    start = due(plan, {})
    assert start.waits and {cell.stage for cell in start.cells} == {"report"}
    finished = {cell.id: finish(cell) for cell in start.cells[:-1]}
    assert due(plan, finished).waits
    ended = due(plan, finished, {start.cells[-1].id})
    assert ended.choices.confirmed == ("base", "good", "dear", "empty") and not ended.waits and not ended.complete
    assert {cell.arm for cell in ended.cells} == set(ended.choices.confirmed)


def test_nothing_is_confirmed_where_nothing_is_better():
    plan = a_plan(confirm=Confirm(2, seeds(1001)), metric=MetricSpec("nll", "test", "min"))
    now, started, _ = played(plan)
    assert now.complete and now.choices.confirmed == () and {cell.stage for cell in started} == {"report"}


def test_sizes_are_those_of_the_whole_study_before_anything_has_run():
    plan = a_plan(**FULL)
    now, _, _ = played(plan)
    counts = {stage: sum(cell.stage == stage for cell in now.planned) for stage in ("tune", "report", "noise")}
    found = stage_sizes(plan)
    assert {stage: found[stage] for stage in counts} == counts
    assert found["confirm"] == 6  # dear with its placebo and the baseline, on two seeds
    first = due(plan, {})
    assert len(first.planned) + first.later == sum(counts.values())


def test_a_search_that_learns_asks_trial_by_trial_and_always_the_same():
    pytest.importorskip("optuna")
    plan = a_plan(tune=tuned(6, "tpe", WIDE, (901,)))
    first = due(plan, {})
    assert {cell.trial for cell in first.cells} == {0, 1, 2} and first.later == 5 * (3 + 3)
    expected, started, _ = played(plan)
    assert expected.complete and sum(cell.stage == "tune" for cell in started) == 30
    for slots in (3, 8):
        found, _, _ = played(plan, slots, random.Random(slots))
        assert found.choices == expected.choices and found.planned == expected.planned


def test_an_arm_whose_confirmation_has_begun_stays_confirmed_when_a_retry_would_pick_another():
    plan = a_plan(confirm=Confirm(1, seeds(1001, 1002)))
    start = due(plan, {})
    late = {cell.id for cell in start.cells if cell.arm == "good" and cell.replicate}
    now, _, finished = played(plan, fails=lambda cell: cell.id in late)
    assert now.choices.confirmed == ("base", "dear", "empty"), "good has one pair"
    again = due(plan, finished)
    assert again.waits and again.choices.confirmed == now.choices.confirmed, "what was seen stays while others run"
    finished |= {cell.id: finish(cell) for cell in start.cells if cell.id in late}
    after = due(plan, finished)
    assert after.choices.confirmed == ("base", "good", "dear", "empty") and not after.waits
    assert {cell.arm for cell in after.cells} == {"good"} and {cell.stage for cell in after.cells} == {"confirm"}


def test_pairs_that_may_not_be_subtracted_pick_no_arm():
    plan = a_plan(confirm=Confirm(1, seeds(1001)))
    cells = due(plan, {}).cells
    finished = {cell.id: finish(cell) for cell in cells}
    assert due(plan, finished).choices.confirmed == ("base", "good")
    for cell in cells:
        if cell.arm == "good":
            finished[cell.id] = a_record(cell, {"accuracy": value(cell)}, 8, a_trail(cell.seeds, other=1))
    assert differences(plan, cells, finished)["good"] == [[]]
    assert due(plan, finished).choices.confirmed == ("base", "dear", "empty")


def test_no_task_rules_the_confirmation_by_its_scale():
    plan = a_plan(confirm=Confirm(1, seeds(1001)))
    cells = [dataclasses.replace(c, task=t, id=f"{t}{c.id}") for t in ("small", "large") for c in due(plan, {}).cells]
    gains = {("good", "small"): 0.2, ("bad", "large"): 2.0}
    noise = {"small": 0.01, "large": 10.0}

    def scored(cell: Cell):
        size = gains.get((cell.arm, str(cell.task)), 0.0) + noise[str(cell.task)] * cell.replicate
        return a_record(cell, {"accuracy": size}, 8)

    found = differences(plan, cells, {cell.id: scored(cell) for cell in cells})
    assert sum(found["good"][0]) > sum(found["bad"][1]) > 0 and sum(map(sum, found["dear"])) == 0


def test_epochs_that_differ_are_unequal_steps_also_where_nothing_is_measured():
    plan = a_plan()
    for arm in plan.arms:
        plan.resolved(arm.name, None).config["trainer"] = {"max_steps": -1, "max_epochs": 2}
    assert matched_steps(plan) == {}
    plan.resolved("dear", None).config["trainer"] = {"max_steps": -1, "max_epochs": 3}
    with pytest.raises(UserError, match="good: 2 epochs, bad: 2 epochs, dear: 3 epochs"):
        matched_steps(plan)
    plan.resolved("dear", None).config["data"] = {"batch_size": 12}
    assert matched_steps(plan) == {}, "only the data would tell"


def test_the_family_of_a_plan_counts_tasks_and_placebos():
    assert len(declared(a_plan().arms, ("a", "b"))) == 2 * (4 + 1)
