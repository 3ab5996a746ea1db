"""Plans and the cells that follow from them, on resolved configurations that nobody parsed."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from finelab.contracts.errors import UserError
from finelab.contracts.run_config import config_digest
from finelab.contracts.seeds import Seeds
from finelab.studies import measurements, planning
from finelab.studies.choices import Choices
from finelab.studies.overriding import look_up
from finelab.studies.plan import PLAN_FILE, Plan, cells_of, defaults_of
from finelab.studies.plan_changes import plan_changes
from finelab.studies.planning import plan_of
from finelab.studies.resolution import Measured, Resolution, Resolved
from finelab.studies.study import Confirm, Dimension, Factor, Level, Limits, MetricSpec, Study, Tune

from .made_up import a_study

LR = "model.optimizer.init_args.lr"
ON_VALIDATION = MetricSpec("accuracy", "validation", "max")
TUNE = Tune((Dimension(LR, times=(0.5, 2.0)),), 3, (Seeds.of(901), Seeds.of(902)), ON_VALIDATION)
SECONDS = {"base": 1.0, "rdrop": 2.0, "half": 0.5}


def a_resolved(name: str, measured: bool = False) -> Resolved:
    """As the child would hand it back: an arm's own method, and everything else alike."""
    optimizer = {"class_path": "AdamW", "init_args": {"lr": 0.001, "fused": True}}
    config = {
        "seeds": {"data": 1, "init": 1, "train": 1},
        "evaluate_test": True,
        "trainer": {"max_steps": 40, "max_epochs": -1, "logger": None, "log_every_n_steps": 10},
        "model": {"class_path": "M", "init_args": {"method": name, "optimizer": optimizer}},
    }
    key = name.rpartition(" ")[2]
    numbers = Measured(SECONDS.get(key, 1.0), 1e9 * SECONDS.get(key, 1.0), 100.0, 40, 1.0, 10**9, 10, 100)
    return Resolved(config, "d1", "b1", numbers if measured else None)


def answer_with(monkeypatch, resolve) -> None:
    """In the place of the child process."""
    for module in (planning, measurements):
        monkeypatch.setattr(module, "resolve", resolve)


@pytest.fixture
def asked(monkeypatch):
    """Puts made-up configurations in the place of the child process; keeps what it was asked to measure."""
    calls = []

    def resolve(study, variants, measure=()):
        calls.append(list(measure))
        found = {v.name: a_resolved(v.name, v.name in measure) for v in variants}
        return Resolution(found, {"torch": "2.13.0"}, "c0de")

    answer_with(monkeypatch, resolve)
    return calls


@pytest.fixture
def study(tmp_path, asked):
    def make(**changes) -> Study:
        levels = tuple(Level(name, {"model.method": name} if name != "base" else {}, "f:1") for name in SECONDS)
        return a_study(tmp_path, ["base"], 4, factors=(Factor("method", levels),), **changes)

    return make


def counts(cells) -> Counter:
    assert len({cell.id for cell in cells}) == len(cells), "no two cells have the same content"
    return Counter(cell.stage for cell in cells)


def test_cells_of_a_study_without_a_search(study):
    plan = plan_of(study())
    cells = cells_of(plan, Choices())
    assert counts(cells) == {"report": 3 * 4}
    assert all(cell.config_digest == config_digest(cell.config) for cell in cells)
    assert [cell.seeds for cell in cells[:4]] == list(plan.study.replicates)
    assert cells[0].config["seeds"] == {"data": 1, "init": 1, "train": 1}
    assert cells_of(plan, Choices())[0] is cells[0], "made once"


def test_a_search_comes_first_and_its_choice_is_reported(study):
    plan = plan_of(study(tune=TUNE, noise=3, confirm=Confirm(1, (Seeds.of(1001), Seeds.of(1002)))))
    cells = cells_of(plan, Choices())
    assert counts(cells) == {"tune": 3 * 3 * 2}
    assert [cell.setting[LR] for cell in cells[:6:2]] == [0.001, 0.0005, 0.002], "the default first"
    assert [(cell.trial, cell.replicate) for cell in cells[:4]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    some = cells_of(plan, Choices({("rdrop", None): 2}))
    assert counts(some) == {"tune": 18, "report": 4}
    assert {look_up(cell.config, LR) for cell in some if cell.stage == "report"} == {0.002}
    every = cells_of(plan, Choices({(arm.name, None): 1 for arm in plan.arms}, confirmed=("base", "half")))
    assert counts(every) == {"tune": 18, "report": 12, "noise": 6, "confirm": 4}


def test_a_trial_never_reads_the_test_split(study):
    trials = Choices({("base", None): 0, ("rdrop", None): 0, ("half", None): 0}, confirmed=("base",))
    confirm = Confirm(1, (Seeds.of(1001),))
    on_test, on_neither = MetricSpec("accuracy", "test", "max"), MetricSpec("accuracy", "validation", "max")
    for metric, secondary, reads in (
        (on_test, (), True),
        (on_neither, ("test/nll",), True),
        (on_neither, ("delta/test/nll",), True),
        (on_neither, ("validation/nll",), False),
    ):
        plan = plan_of(study(metric=metric, secondary=secondary, tune=TUNE, noise=2, confirm=confirm))
        read = {cell.stage: cell.config["evaluate_test"] for cell in cells_of(plan, trials)}
        assert read == {"tune": False, "report": reads, "noise": reads, "confirm": reads}


def test_the_noise_floor_has_reruns_and_other_seeds(study):
    cells = [cell for cell in cells_of(plan_of(study(noise=3)), Choices()) if cell.stage == "noise"]
    same, others = [c for c in cells if c.repeat], [c for c in cells if not c.repeat]
    assert [(c.repeat, c.seeds) for c in same] == [(k, Seeds.of(1)) for k in (1, 2, 3)]
    assert [c.seeds for c in others] == [Seeds.of(1901), Seeds.of(1902), Seeds.of(1903)]
    assert {c.arm for c in cells} == {"base"} and len({c.config_digest for c in same}) == 1


def test_identity_is_of_what_decides_a_number(study):
    plan = plan_of(study())
    first = cells_of(plan, Choices())[0]

    def with_first(**changes) -> str:
        resolved = replace(plan.resolved("base", None), **changes)
        variants = {**plan.resolution.variants, "base": resolved}
        return cells_of(replace(plan, resolution=replace(plan.resolution, variants=variants)), Choices())[0].id

    config = plan.resolved("base", None).config
    shown = {**config, "trainer": {**config["trainer"], "logger": "x", "log_every_n_steps": 1}}
    assert with_first(config=dict(reversed(config.items()))) == with_first(config=shown) == first.id
    longer = {**config, "trainer": {**config["trainer"], "max_steps": 41}}
    others = {with_first(config=longer), with_first(data="d2"), with_first(base="b2")}
    newer = replace(plan, resolution=replace(plan.resolution, versions={"torch": "2.14.0"}))
    others.add(cells_of(newer, Choices())[0].id)
    assert len(others) == 4 and first.id not in others
    code = replace(plan, resolution=replace(plan.resolution, code="other"))
    assert cells_of(code, Choices())[0].id == first.id


def test_tasks(study, asked):
    data = Factor("dataset", tuple(Level(name, {"data.source": name}, "f:2") for name in ("trec", "rte")))
    made = study(tasks="dataset", noise=2)
    plan = plan_of(replace(made, factors=(*made.factors, data)))
    cells = cells_of(plan, Choices())
    assert counts(cells) == {"report": 2 * 3 * 4, "noise": 4}
    assert {cell.task for cell in cells if cell.stage == "noise"} == {"trec"}


def test_a_plan_is_read_as_it_was_written(study, tmp_path):
    plan = plan_of(study(tune=TUNE, noise=2, confirm=Confirm(1, (Seeds.of(1001),)), limits=Limits(timeout=60)), True)
    plan.save(tmp_path)
    again = Plan.load(tmp_path)
    assert again == plan
    assert cells_of(again, Choices()) == cells_of(plan, Choices())


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"study": {}}'])
def test_what_is_no_plan_is_refused(tmp_path, content):
    (tmp_path / PLAN_FILE).write_text(content)
    with pytest.raises(UserError, match="is no plan of this version"):
        Plan.load(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        Plan.load(tmp_path / "missing")


def test_the_limit_counts_every_stage(study):
    whole = {"tune": TUNE, "noise": 3, "confirm": Confirm(1, (Seeds.of(1001),))}
    plan_of(study(**whole, limits=Limits(cells=18 + 12 + 6 + 2)))
    said = r"38 cells \(18 trials, 12 reported, 6 noise, 2 confirmation, of 3 arms\), and limits.cells is 37"
    with pytest.raises(UserError, match=said):
        plan_of(study(**whole, limits=Limits(cells=37)))


def test_arms_that_resolve_to_one_configuration_are_refused(study, monkeypatch):
    answer_with(monkeypatch, lambda s, v, m=(): Resolution({x.name: a_resolved("same") for x in v}))
    with pytest.raises(UserError, match="'base' and 'rdrop' resolve to the same configuration"):
        plan_of(study())


def test_what_cannot_be_searched(study):
    nowhere = replace(TUNE, space=(Dimension("model.optimizer.momentum", values=(0.1, 0.2)),))
    with pytest.raises(UserError, match="which arm 'base' does not have"):
        plan_of(study(tune=nowhere))
    with pytest.raises(UserError, match="as a number, and of arm 'base' it is True"):
        plan_of(study(tune=replace(TUNE, space=(Dimension("model.optimizer.fused", times=(2.0, 3.0)),))))
    own = replace(TUNE, space=(Dimension(LR, values=(0.001, 0.01)),))
    with pytest.raises(UserError, match=r"only 2 different settings .* write tune.trials: 2"):
        plan_of(study(tune=own))
    plan = plan_of(study(tune=replace(own, trials=2)))
    assert defaults_of(plan, "base", None) == {LR: 0.001}


def test_a_whole_number_becomes_the_float_that_fit_reads(study):
    plan = plan_of(study(tune=replace(TUNE, space=(Dimension(LR, values=(1, 2)),))))
    values = [look_up(cell.config, LR) for cell in cells_of(plan, Choices())]
    assert {type(value) for value in values} == {float}


@pytest.mark.parametrize(
    ("match", "key"),
    [("steps", "trainer.max_steps"), ("flops", "trainer.max_steps"), ("tokens", "data.init_args.batch_size"),
     ("time", "trainer.accumulate_grad_batches")],
)  # fmt: skip
def test_a_search_that_would_break_its_budget_is_refused(study, match, key):
    with pytest.raises(UserError, match=f"searches {key}, and match: {match}"):
        plan_of(study(match=match, tune=replace(TUNE, space=(Dimension(key, times=(0.5, 2.0)),))))


def test_a_multiple_of_a_whole_number_stays_whole(study):
    key = "trainer.max_steps"
    plan = plan_of(study(match="none", tune=replace(TUNE, space=(Dimension(key, times=(0.5, 2.0)),))))
    assert {repr(look_up(cell.config, key)) for cell in cells_of(plan, Choices())} == {"40", "20", "80"}
    assert plan.parsed == {}, "so that no child has to be asked"


def test_a_changed_study_says_what_is_new(study):
    before = plan_of(study())
    assert list(plan_changes(before, plan_of(study()))) == []
    changed = replace(study(), replicates=before.study.replicates[:2])
    more = Level("more", {"model.method": "more"}, "f:9")
    factor = replace(changed.factors[0], levels=(*changed.factors[0].levels[:2], more))
    after = plan_of(replace(changed, factors=(factor,)))
    config = after.resolution.variants["rdrop"].config
    config["trainer"] = {**config["trainer"], "max_steps": 41}
    assert list(plan_changes(before, after)) == [
        "new: more",
        "no longer asked for: half",
        "changed: rdrop: trainer.max_steps: 40 -> 41",
        "changed: replicates of the study",
    ]
    newer = replace(before, resolution=replace(before.resolution, code="newer"))
    (line,) = plan_changes(before, newer)
    assert line.startswith("changed: finelab's own source")


# ---- equal budgets


def test_equal_steps_are_verified(study, monkeypatch):
    assert plan_of(study()).steps == {}

    def resolve(s, variants, measure=()):
        found = Resolution({v.name: a_resolved(v.name) for v in variants})
        found.variants["half"].config["trainer"]["max_steps"] = 20
        return found

    answer_with(monkeypatch, resolve)
    with pytest.raises(UserError, match="base: 40, rdrop: 40, half: 20"):
        plan_of(study())
    assert plan_of(study(match="none")).steps == {}


@pytest.mark.parametrize("match", ["time", "flops"])
def test_budgets_are_those_of_the_baseline(study, match):
    """40 steps of one unit each: half as many at twice the cost, twice as many at half."""
    plan = plan_of(study(match=match))
    assert plan.steps == {"base": 40, "rdrop": 20, "half": 80}
    for cell in cells_of(plan, Choices()):
        assert cell.config["trainer"]["max_steps"] == plan.steps[cell.arm]
        assert cell.config["trainer"]["max_epochs"] == -1
    assert plan_of(study(match="tokens")).steps == dict.fromkeys(SECONDS, 40)


def test_what_was_measured_is_not_measured_again(study, asked, monkeypatch):
    """Else a study that is matched by time would have other cells each time it is started."""
    made = study(match="time")
    plan = plan_of(made)
    monkeypatch.setitem(SECONDS, "rdrop", 4.0)
    again = plan_of(made)
    assert asked == [["base", "rdrop", "half"], []]
    assert again == plan and [c.id for c in cells_of(again, Choices())] == [c.id for c in cells_of(plan, Choices())]
    more = Level("more", {"model.method": "more"}, "f:9")
    longer = replace(made, factors=(replace(made.factors[0], levels=(*made.factors[0].levels, more)),))
    assert plan_of(longer).steps == {**plan.steps, "more": 40} and asked[-2:] == [[], ["more"]]


def test_a_budget_that_nobody_could_measure(study, monkeypatch):
    def resolve(s, variants, measure=()):
        found = {v.name: a_resolved(v.name, True) for v in variants}
        uncounted = {name: replace(each.measured, flops_per_step=None) for name, each in found.items()}
        return Resolution({name: replace(each, measured=uncounted[name]) for name, each in found.items()})

    answer_with(monkeypatch, resolve)
    with pytest.raises(UserError, match="needs the floating-point operations of a step, which could not be measured"):
        plan_of(study(match="flops"))


def test_paths_are_absolute_in_a_plan(study):
    assert plan_of(study(base=Path("base.yaml"))).study.base == Path.cwd() / "base.yaml"
