"""Every override that a verdict hands out is one that the command line takes."""

import itertools
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from finelab.callbacks.evidence.judge import judge
from finelab.callbacks.evidence.recipe import Recipe
from finelab.callbacks.evidence.settings import Settings
from finelab.scripts.cli import main

TREC = Path(__file__).parents[3] / "configs" / "trec_lora.yaml"
TIME = np.linspace(0.05, 1, 20)
FALL = 0.3 + 1.2 * np.exp(-8 * TIME)
EARLY, LATE = (FALL + 0.6 * np.maximum(TIME - begin, 0) for begin in (0.15, 0.7))
KNOWN = {"L2SP", "RDrop", "Mixout", "LabelSmoothing", "KLToBase"}
SLOW = 0.3 + 1.2 * np.exp(-0.5 * TIME)


def resolved(capsys, *more: str) -> dict:
    capsys.readouterr()
    assert main(["fit", "-c", str(TREC), *more, "--print_config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def tried(curve, recipe: Recipe) -> list[str]:
    return [one.override for one in judge(curve, Settings(recipe=recipe)).remedies]


def all_overrides(series, recipe: Recipe) -> list[str]:
    """What is suggested on curves of every kind, with more and more of it in use."""
    curves = {
        "early": series(EARLY, FALL),
        "late": series(LATE, FALL - 0.4 * TIME),
        "slow": series(SLOW, SLOW),
        "diverging": series(EARLY, EARLY),
    }
    kinds = [
        recipe,
        replace(recipe, target="CausalLM"),
        replace(recipe, regularizers=("RDrop",)),
        replace(recipe, regularizers=("L2SP", "RDrop", "Mixout")),
        replace(recipe, steps=900, epochs=-1),
        replace(recipe, epochs=1, stopping=True, regularizers=("L2SP",), dropout=None),
        replace(recipe, adapter="Full", rank=None, epochs=1, stopping=True, regularizers=("RDrop",)),
        replace(recipe, epochs=1, stopping=True, regularizers=("L2SP", "RDrop", "LabelSmoothing")),
        replace(recipe, adapter="Full", rank=None, dropout=None, stopping=True, regularizers=tuple(KNOWN), epochs=1),
    ]
    found = {each for curve, kind in itertools.product(curves.values(), kinds) for each in tried(curve, kind)}
    assert len(found) >= 12 and all(found)
    return sorted(found)


def test_the_command_line_takes_what_is_suggested(capsys, series) -> None:
    """All at once, as far as they set different keys; one at a time in the slow test."""
    config = resolved(capsys)
    recipe = Recipe.of(config)
    assert (recipe.target, recipe.adapter, recipe.rank, recipe.rate) == ("SequenceClassifier", "LoraConfig", 8, 2e-3)
    assert (recipe.epochs, recipe.dropout, recipe.regularizers) == (5, 0.0, ())
    once = {each.partition("=")[0] if "+=" not in each else each: each for each in all_overrides(series, recipe)}
    once.pop("--model.adapter")
    changed = Recipe.of(resolved(capsys, *itertools.chain(*map(shlex.split, once.values()))))
    assert set(changed.regularizers) >= KNOWN - {"Mixout"}
    assert changed.steps > 0 and changed.epochs != 5 and changed.rank != 8 and changed.rate != 2e-3
    assert changed.dropout == 0.1 and changed.stopping


@pytest.mark.slow
def test_the_command_line_takes_each_of_them(capsys, series) -> None:
    config = resolved(capsys)
    for override in all_overrides(series, Recipe.of(config)):
        start = ["--model.adapter=finelab.models.adapters.Full"] if override.startswith("--model.adapter=") else []
        before = resolved(capsys, *start) if start else config
        assert resolved(capsys, *start, *shlex.split(override)) != before, f"{override} changes nothing"


@pytest.mark.parametrize(
    ("recipe", "first"),
    [
        (Recipe(target="CausalLM"), "KLToBase --model.regularizers.weight=0.1"),
        (Recipe(target="CausalLM", regularizers=("KLToBase",)), "L2SP --model.regularizers.weight=0.1"),
        (Recipe(target="CausalLM", regularizers=("KLToBase",), dropout=0.1), "RDrop --model.regularizers.weight=1.0"),
        (Recipe(target="CausalLM", adapter="Full", regularizers=("KLToBase",)), "Mixout --model.regularizers.p=0.5"),
        (Recipe(target="CausalLM", base_lost=True), "L2SP --model.regularizers.weight=0.1"),
        (Recipe(target="SequenceClassifier"), "RDrop --model.regularizers.weight=1.0"),
        (Recipe(target="SequenceClassifier", regularizers=("RDrop", "L2SP")), "LabelSmoothing --model.regularizers."),
        (Recipe(), "L2SP --model.regularizers.weight=0.1"),
    ],
    ids=str,
)
def test_what_is_in_use_is_not_suggested(recipe: Recipe, first: str, series) -> None:
    """The rows are told apart by their losses, so that a penalty comes before a shorter run."""
    override = tried(series(LATE, FALL - 0.4 * TIME), recipe)[0]
    assert override.startswith(f"--model.regularizers+=finelab.models.regularizers.{first}")


def test_an_early_best_asks_for_a_shorter_run(series) -> None:
    curve = series(EARLY, EARLY - 0.1 * TIME)
    assert tried(curve, Recipe(epochs=10))[0] in ("--trainer.max_epochs=3", "--trainer.max_epochs=4")
    assert tried(curve, Recipe(steps=1000))[0].startswith("--trainer.max_steps=")
    assert tried(curve, Recipe(epochs=1))[0] == "--trainer.callbacks+=finelab.callbacks.EarlyStopping"
    bare = Recipe(epochs=1, stopping=True, regularizers=tuple(KNOWN), rank=8)
    assert tried(curve, bare) == ["--model.adapter.init_args.r=2"]
    assert tried(curve, replace(bare, dropout=0.0)) == ["--model.adapter.init_args.lora_dropout=0.1"]


def test_lost_confidence_asks_for_softer_targets(series) -> None:
    """Accuracy stands while the loss rises."""
    curve = series(LATE, FALL - 0.4 * TIME)
    right = np.tile(np.random.default_rng(0).random(200) < 0.8, (20, 1)).astype(float)
    curve = replace(curve, a=replace(curve.a, right=right), b=replace(curve.b, right=right))
    assert "LabelSmoothing" in tried(curve, Recipe(target="SequenceClassifier"))[0]
    assert "LabelSmoothing" not in tried(curve, Recipe(target="CausalLM"))[0]


def test_slow_runs_are_told_to_go_faster_or_on(series) -> None:
    curve = series(SLOW, SLOW)
    assert tried(curve, Recipe(rate=1e-4, epochs=3)) == [
        "--model.optimizer.init_args.lr=0.0003",
        "--trainer.max_epochs=9",
    ]
    assert tried(curve, Recipe(rate=1e-4, steps=50))[1] == "--trainer.max_steps=150"
    assert tried(curve, Recipe()) == ["", ""]


def test_a_longer_plan_is_not_suggested_where_early_stopping_ended_the_run(series) -> None:
    curve = replace(series(SLOW, SLOW), planned=60)
    recipe = Recipe(rate=1e-4, epochs=3, stopping=True)
    said = [one.what for one in judge(curve, Settings(recipe=recipe)).remedies]
    assert said == ["a higher learning rate (0.0003)", "more patience in early stopping"]
    assert tried(replace(curve, planned=20), recipe)[1] == "--trainer.max_epochs=9", "the plan was its end"
    assert tried(curve, replace(recipe, stopping=False))[1] == "--trainer.max_epochs=9"
