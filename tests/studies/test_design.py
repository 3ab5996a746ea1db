"""Designs: which arms there are, against counts and members that follow from the definition."""

from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path
from random import Random

import pytest

from finelab.contracts.errors import UserError
from finelab.studies.arm import Arm
from finelab.studies.design import arms_of, completed, in_order
from finelab.studies.study import Factor, Level, Study
from finelab.studies.variants import tasks_of, variant_name, variants_of

from .made_up import a_study


def factor(name: str, *levels: str, when: dict | None = None, placebos: dict | None = None) -> Factor:
    """Every level sets a key of its factor's own to its name."""
    placebos = placebos or {}
    return Factor(
        name,
        tuple(Level(level, {f"model.{name}": level}, f"study.yaml:{name}", placebos.get(level)) for level in levels),
        when or {},
    )


@pytest.fixture
def study():
    def make(*factors: Factor, **changes) -> Study:
        baseline = {
            each.name: each.levels[0].name for each in factors if not each.when and each.name != changes.get("tasks")
        }
        return replace(a_study(Path(), ["unused"]), **({"factors": factors, "baseline": baseline} | changes))

    return make


def named(arms: tuple[Arm, ...]) -> list[str]:
    return [arm.name for arm in arms]


ADAPTER, METHOD = factor("adapter", "lora", "full", "ia3"), factor("method", "base", "rdrop")
DROPOUT = factor("dropout", "0.0", "0.1", when={"adapter": ("lora",)})


def test_grid(study):
    arms = arms_of(study(ADAPTER, METHOD))
    assert named(arms) == [f"{a} + {m}" for a, m in product(("lora", "full", "ia3"), ("base", "rdrop"))]
    assert [arm.reference for arm in arms] == [None, *["lora + base"] * 5]


def test_within_compares_with_the_arm_of_the_same_adapter(study):
    references = {arm.name: arm.reference for arm in arms_of(study(ADAPTER, METHOD, within=("adapter",)))}
    assert references == {
        f"{a} + {m}": None if m == "base" else f"{a} + base"
        for a, m in product(("lora", "full", "ia3"), ("base", "rdrop"))
    }


@pytest.mark.parametrize("design", ["grid", "nested"])
def test_a_nested_factor_applies_under_its_levels_only(study, design):
    arms = arms_of(study(ADAPTER, METHOD, DROPOUT, design=design))
    assert len(arms) == 2 * (2 + 1 + 1)
    assert all(("dropout" in arm.levels) == (arm.levels["adapter"] == "lora") for arm in arms)
    assert arms[0].name == "lora + base + dropout 0.0" and arms[-1].name == "ia3 + rdrop"
    assert {arm.reference for arm in arms if "dropout" not in arm.levels} == {"lora + base + dropout 0.0"}
    early = study(DROPOUT, ADAPTER, METHOD, design=design)
    assert {frozenset(a.levels.items()) for a in arms_of(early)} == {frozenset(a.levels.items()) for a in arms}, (
        "the order of the factors in the file does not matter"
    )


def test_one_factor(study):
    arms = arms_of(study(ADAPTER, METHOD, DROPOUT, design="one_factor"))
    assert len(arms) == 1 + (3 - 1) + (2 - 1) + (2 - 1)
    assert {arm.reference for arm in arms[1:]} == {arms[0].name} and arms[0].reference is None
    assert named(arms)[1:3] == ["full + base", "ia3 + base"], "without dropout, which does not apply"


def test_leave_one_out(study):
    factors = [factor(name, "on", "off") for name in ("rdrop", "llrd", "smoothing")]
    arms = arms_of(study(*factors, factor("fixed", "so"), design="leave_one_out"))
    assert named(arms) == ["all parts", "without rdrop", "without llrd", "without smoothing"]
    assert [sum(level == "off" for level in arm.levels.values()) for arm in arms] == [0, 1, 1, 1]
    assert {arm.reference for arm in arms[1:]} == {"all parts"}


def test_listed_cells_are_completed_from_the_baseline(study):
    listed = ({"adapter": "lora"}, {"adapter": "ia3", "method": "rdrop"}, {"dropout": "0.1"})
    arms = arms_of(study(ADAPTER, METHOD, DROPOUT, design="cells", listed=listed))
    assert named(arms) == ["lora + base + dropout 0.0", "ia3 + rdrop", "lora + base + dropout 0.1"]


def test_placebos(study):
    method = factor("method", "base", "rdrop", "twice", placebos={"twice": "rdrop"})
    arms = arms_of(study(ADAPTER, method, within=("adapter",)))
    placebos = {arm.name: arm.placebo for arm in arms}
    assert placebos == {name: name.replace("rdrop", "twice") if "rdrop" in name else None for name in named(arms)}
    listed = ({"method": "base"}, {"method": "rdrop"})
    with pytest.raises(UserError, match=r"method, level twice .* list both"):
        arms_of(study(ADAPTER, method, design="cells", listed=listed))
    with pytest.raises(UserError, match=r"method, level rdrop .* list both"):
        arms_of(study(ADAPTER, method, design="cells", listed=({"method": "base"}, {"method": "twice"})))


def test_tasks_are_no_part_of_an_arm(study):
    data = factor("dataset", "trec", "rte")
    made = study(data, METHOD, tasks="dataset")
    arms = arms_of(made)
    assert named(arms) == ["base", "rdrop"] and tasks_of(made) == ("trec", "rte")
    variants = variants_of(made, arms)
    assert [v.name for v in variants] == [variant_name(a, t) for t in ("trec", "rte") for a in ("base", "rdrop")]
    assert [overrides for _, overrides in variants[3].overrides] == [
        {"model.dataset": "rte"},
        {"model.method": "rdrop"},
    ]


def test_names_say_the_factor_where_the_level_tells_nothing(study):
    arms = arms_of(study(factor("a", "on", "off"), factor("b", "none", "x"), factor("c", "none", "y")))
    assert arms[0].name == "a on + b none + c none" and arms[-1].name == "a off + x + y"
    assert named(arms_of(study(factor("rows", "100", "200")))) == ["rows 100", "rows 200"]
    assert named(arms_of(study(factor("method", "on", "off")))) == ["on", "off"]


@pytest.mark.parametrize("seed", range(25))
def test_any_grid_has_every_valid_combination_once(study, seed):
    """Against the plain product, thinned by the conditions."""
    rng = Random(seed)
    factors = []
    for number in range(rng.randint(1, 4)):
        levels = [f"f{number}l{level}" for level in range(rng.randint(2, 3))]
        when = {}
        if factors and rng.random() < 0.5:
            other = rng.choice(factors)
            when = {other.name: tuple(rng.sample([level.name for level in other.levels], 1))}
        factors.append(factor(f"f{number}", *levels, when=when))
    made = study(*factors)
    expected = set()
    for combination in product(*([level.name for level in each.levels] for each in factors)):
        levels = dict(zip((each.name for each in factors), combination, strict=True))
        for each in factors:
            if any(levels.get(other) not in names for other, names in each.when.items()):
                levels.pop(each.name)
        expected.add(frozenset(levels.items()))
    arms = arms_of(made)
    assert {frozenset(arm.levels.items()) for arm in arms} == expected and len(arms) == len(expected)
    assert len(arms) <= prod(len(each.levels) for each in factors)
    by_name = {arm.name: arm for arm in arms}
    assert len(by_name) == len(arms)
    baseline = completed(made, in_order(made), made.baseline, {})
    assert [arm.levels for arm in arms if arm.reference is None] == [baseline]
    assert all(arm.reference is None or by_name[arm.reference].levels == baseline for arm in arms)
    one = arms_of(replace(made, design="one_factor")) if not any(each.when for each in factors) else ()
    assert all(sum(arm.levels[name] != baseline[name] for name in baseline) <= 1 for arm in one)


@pytest.mark.parametrize("seed", range(10))
def test_within_always_holds_the_named_factors_fixed(study, seed):
    rng = Random(seed)
    factors = [factor(f"f{n}", *(f"f{n}l{k}" for k in range(rng.randint(2, 3)))) for n in range(3)]
    within = tuple(rng.sample([each.name for each in factors], rng.randint(1, 2)))
    made = study(*factors, within=within)
    arms = {arm.name: arm for arm in arms_of(made)}
    for arm in arms.values():
        against = arms[arm.reference or arm.name].levels
        assert all(against[name] == (arm.levels if name in within else made.baseline)[name] for name in against)


@pytest.mark.parametrize(
    ("factors", "changes", "said"),
    [
        ((ADAPTER, METHOD), {"design": "nested"}, "needs a factor with when"),
        ((ADAPTER, METHOD), {"design": "leave_one_out"}, "factor adapter has the levels lora, full, ia3"),
        ((ADAPTER, DROPOUT), {"baseline": {"adapter": "full", "dropout": "0.1"}},
         "baseline names factor dropout, level 0.1, but that factor applies only when adapter is lora"),
        ((ADAPTER, DROPOUT), {"design": "one_factor", "baseline": {"adapter": "full"}},
         "factor dropout, level 0.1 is in no arm of design: one_factor"),
        ((ADAPTER, METHOD), {"design": "cells", "listed": ({"adapter": "full"},)},
         r"the baseline \(adapter: lora, method: base\) is not among design.cells"),
        ((ADAPTER,), {"design": "cells", "listed": ({"adapter": "lora"}, {"adapter": "lora"})}, "entry 2 .* is entry "
         "1"),
        ((ADAPTER, METHOD), {"design": "cells", "listed": ({"adapter": "lora"}, {"adapter": "full", "method": "rdrop"}),
                             "within": ("adapter",)}, "is compared with adapter: full, method: base"),
        ((factor("a", "x", "y", when={"b": ("u",)}), factor("b", "u", "v", when={"a": ("x",)})), {}, "wait for each "
         "other"),
        ((ADAPTER, DROPOUT), {"tasks": "adapter"}, "whose levels are the tasks"),
        ((factor("a", "x", "y"), factor("b", "u", "v", when={"a": ("y",), "c": ("m",)}),
          factor("c", "m", "n", when={"a": ("x",)})), {}, "factor b is in no arm"),
        ((Factor("a", (Level("x", {}, "1"), Level("y", {}, "2"))),), {}, "'x' and 'y' change the same keys"),
    ],
    ids=["nested", "levels", "idle", "unused", "unlisted", "twice", "reference", "cycle", "tasks", "never", "equal"],
)  # fmt: skip
def test_what_cannot_be(study, factors, changes, said):
    with pytest.raises(UserError, match=said):
        arms_of(study(*factors, **changes))


def test_a_level_may_refine_and_append_but_not_undo(study):
    def overrides(key: str, value) -> Factor:
        return Factor(key.rstrip("+"), (Level("a", {key: value}, "f:1"), Level("b", {key: 0}, "f:2")))

    adapter, rank = overrides("model.adapter", "L"), overrides("model.adapter.init_args.r", 2)
    fine = study(adapter, rank)
    assert len(variants_of(fine, arms_of(fine))) == 4
    for wrong in (study(rank, adapter), study(adapter, overrides("model.adapter", "L"))):
        wrong = replace(wrong, factors=(wrong.factors[0], replace(wrong.factors[1], name="second")))
        with pytest.raises(UserError, match=r"f:1: factor second, level a sets model.adapter and so undoes"):
            variants_of(wrong, arms_of(replace(wrong, baseline={})))
    appended = study(overrides("model.regularizers", []), overrides("model.regularizers+", [1]))
    appended = replace(
        appended, factors=(appended.factors[0], replace(appended.factors[1], name="second")), baseline={}
    )
    assert len(variants_of(appended, arms_of(appended))) == 4
