"""docs/regularizers.md: it is what the script writes, it names every method, and its passes are those that are made."""

import ast
import functools
import importlib
import json
from pathlib import Path

import lightning as L
import pytest
import torch
from peft import LoraConfig

from finelab.data.collate import PadCollator
from finelab.models import CausalLM
from finelab.models.adapters import Full

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("regularizers_page")


def test_the_page_is_what_the_script_writes(script):
    written = script.page(json.loads(script.RESULTS.read_text()))
    assert script.PAGE.read_text() == written, "run: python benchmarks/regularizers_page.py"


def test_every_method_has_a_row_and_was_measured(script):
    files = [ast.parse(file.read_text()) for file in (ROOT / "models" / "regularizers").glob("*.py")]
    classes = [node for tree in files for node in tree.body if isinstance(node, ast.ClassDef)]
    shipped = {c.name for c in classes if any(isinstance(b, ast.Name) and b.id == "Regularizer" for b in c.bases)}
    assert {name.split()[0] for name in script.COSTS} == shipped
    measured = [set(s["arms"]) for s in json.loads(script.RESULTS.read_text()).values()]
    assert set.union(*measured) >= set(script.COSTS)
    assert len(measured) == 6


def test_theory(script):
    found = {name: (round(c.theory("Full"), 2), round(c.theory("LoRA"), 2)) for name, c in script.COSTS.items()}
    assert found["RDrop"] == found["SAM"] == (2.0, 2.0)
    assert found["KLToBase"] == (1.33, 1.5)
    assert found["FreeLB"] == (3.0, 3.0)
    assert {found[name] for name in ("NEFTune", "Mixout", "L2SP", "LabelSmoothing", "ChildTuning (F)")} == {(1.0, 1.0)}


def arm(wall, theory, low, high):
    return {"wall": wall, "cpu": wall, "theory": theory, "wall_range": [low, high]}


def test_what_is_outside_the_limits_is_bold_and_has_a_reason(script):
    arms = {
        "L2SP": arm(1.3, 1.0, 1.2, 1.4),
        "NEFTune": arm(0.8, 1.0, 0.75, 0.85),
        "SAM": arm(1.7, 2.0, 1.6, 1.75) | {"cpu": 1.9},
        "RDrop": arm(2.15, 2.0, 2.1, 2.19),
        "FreeLB": arm(3.5, 3.0, 3.1, 4.0),
        "plain again": arm(1.2, 1.0, 1.15, 1.3),
    }
    results = {"tiny": {"rounds": 3, "arms": arms}}
    table = script.measured(results)
    for row in ("| L2SP | **1.30** of 1.00 |", "| NEFTune | **0.80** of 1.00 |", "| SAM | **1.70** [1.90] of 2.00 |"):
        assert row in table
    assert "| RDrop | 2.15 of 2.00 |" in table
    reasons = script.why(results)
    assert f"- `L2SP` above (tiny): {script.COSTS['L2SP'].beside}.\n" in reasons
    assert "- `NEFTune` below (tiny): in every round, which no cost explains: to be measured again.\n" in reasons
    assert "- `SAM` below (tiny): in every round: the update" in reasons
    assert "- `FreeLB` above (tiny): not decided, the rounds go from 3.10 to 4.00.\n" in reasons
    assert "- `plain again` above (tiny): in every round: the machine was not quiet" in reasons
    assert "RDrop" not in reasons
    results["tiny"]["rounds"] = 1
    assert reasons.count("\n") == 5
    assert "- `L2SP` above (tiny): a single round" in script.why(results)


def names():
    return ["LabelSmoothing", "NEFTune", "Mixout", "RDrop", "KLToBase", "L2SP", "ChildTuning (F)", "SAM", "FreeLB"]


@pytest.mark.parametrize("name", names())
def test_a_step_makes_the_passes_that_the_page_names(script, name):
    """Two micro-batches: a pass without gradients is a forward alone, one with them brings its backward."""
    lora = LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.1)
    cost, made = script.COSTS[name], []
    module = CausalLM("tiny://llama", lora, functools.partial(torch.optim.SGD, lr=0.1), [cost.make()])

    class Counted(type(module)):
        def supervised(self, batch):
            found = super().supervised(batch)
            made.append(found[0].logits.requires_grad)
            return found

    module.__class__ = Counted
    train(module)
    assert len(made) == 2 * (1 + cost.forwards)
    assert sum(made) == 2 * (1 + cost.backwards)


def test_fisher_information_costs_a_pass_a_row_before_the_first_step_and_none_later(script):
    cost, made = script.COSTS["ChildTuning (D)"], []
    module = CausalLM("tiny://llama", Full(), functools.partial(torch.optim.SGD, lr=0.1), [cost.make()])

    class Counted(type(module)):
        def supervised(self, batch):
            made.append(len(batch["labels"]))
            return super().supervised(batch)

    module.__class__ = Counted
    train(module)
    assert made == [1] * 4 + [2, 2]  # the four rows that there are, then two micro-batches


def train(module):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 250, (4, 6), generator=generator).numpy()
    rows = [{"sample_id": i, "source_id": 0, "input_ids": row, "labels": row} for i, row in enumerate(ids)]
    loader = torch.utils.data.DataLoader(rows, 2, collate_fn=PadCollator(0))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", accumulate_grad_batches=2, enable_model_summary=False, **quiet)
    trainer.fit(module, loader)
