"""A run that goes on has every method where it was, to the bit: each method at each of its settings, on both kinds of
weights."""

import pytest
import torch
from peft import LoraConfig

from finelab.models.adapters import Full
from finelab.models.regularizers import (
    L2SP,
    SAM,
    ChildTuning,
    FreeLB,
    KLToBase,
    LabelSmoothing,
    Mixout,
    NEFTune,
    RDrop,
)

from .regularizer_runs import rows, tuner
from .regularizer_table import lora
from .resumed_runs import ADAM, require_exact_plain_resume, require_exact_resume

SETTINGS = {
    "LabelSmoothing": lambda: [LabelSmoothing(0.1)],
    "NEFTune": lambda: [NEFTune(5.0)],
    "NEFTune-padded": lambda: [NEFTune(5.0, hf_compat=True)],
    "Mixout": lambda: [Mixout(0.5)],
    "RDrop": lambda: [RDrop(1.0)],
    "KLToBase": lambda: [KLToBase(0.5)],
    "KLToBase-reverse": lambda: [KLToBase(0.5, "reverse")],
    "L2SP": lambda: [L2SP(0.3)],
    "L2SP-head": lambda: [L2SP(0.3, 0.1)],
    "ChildTuning": lambda: [ChildTuning(0.3)],
    "ChildTuning-D": lambda: [ChildTuning(0.3, "D")],
    "SAM": lambda: [SAM(0.05)],
    "ASAM": lambda: [SAM(0.5, adaptive=True)],
    "FreeLB": lambda: [FreeLB(steps=3)],
    "FreeLB-noise": lambda: [FreeLB(steps=1, init=0.5)],
    "FreeLB-unbounded": lambda: [FreeLB(steps=2, init=0.0, epsilon=None)],
    "stack": lambda: [Mixout(0.5), RDrop(1.0), L2SP(0.3), NEFTune(5.0), ChildTuning(0.3), FreeLB(steps=2), SAM(0.05)],
}
ADAPTERS = {
    "Full": Full,
    "LoRA": lora,
    "PiSSA": lambda: LoraConfig(r=4, target_modules="all-linear", init_lora_weights="pissa", lora_dropout=0.1),
}
ANCHORED = ("KLToBase", "L2SP", "ChildTuning-D", "SAM")
"""What asks for the start, or for gradients there, is also tried where the start has rewritten the base."""
FAST = {("ChildTuning-D", "Full", "class"), ("Mixout", "Full", "lm"), ("FreeLB", "LoRA", "lm"), ("stack", "LoRA", "lm")}


def refused(name: str, adapter: str, task: str) -> bool:
    """What other tests see refused: no base for a new head, no dropout in a Llama, LoRA's zero factor."""
    return (
        (name.startswith("KLToBase") and task == "class")
        or (name in ("RDrop", "stack") and adapter == "Full" and task == "lm")
        or (name == "ChildTuning-D" and adapter == "LoRA")
        or (adapter == "PiSSA" and (name not in ANCHORED or task == "class"))
    )


CASES = [
    pytest.param(name, adapter, task, marks=[] if (name, adapter, task) in FAST else [pytest.mark.slow])
    for name in SETTINGS
    for adapter in ADAPTERS
    for task in ("lm", "class")
    if not refused(name, adapter, task)
]


def tuned(name: str, adapter: str, task: str):
    module = tuner(task, SETTINGS[name](), ADAPTERS[adapter]())
    module.make_optimizer = ADAM
    return module


@pytest.mark.parametrize(("name", "adapter", "task"), CASES)
def test_a_resumed_run_is_the_run(name, adapter, task, tmp_path):
    require_exact_resume(lambda: tuned(name, adapter, task), lambda: rows(task, 2), tmp_path)


@pytest.mark.parametrize(("name", "adapter", "task"), [("ChildTuning-D", "Full", "class"), ("stack", "LoRA", "lm")])
def test_a_plain_checkpoint_is_enough(name, adapter, task, tmp_path):
    require_exact_plain_resume(lambda: tuned(name, adapter, task), lambda: rows(task, 2), tmp_path)


@pytest.mark.parametrize("broken", ["unit", "masks"])
def test_what_is_kept_is_needed(broken, tmp_path, monkeypatch):
    """Negative controls: without the unit of the step before, or with a mask of the current weights, it is seen."""
    if broken == "unit":
        name, task = "LabelSmoothing", "lm"
        monkeypatch.setattr("finelab.models.objective.Objective.restore", lambda self, state: None)
    else:
        name, task = "ChildTuning-D", "class"

        def look_again(self, state):
            self.start = [(p, p.detach().clone()) for p, _ in self.start]

        monkeypatch.setattr(ChildTuning, "restore", look_again)
    with pytest.raises(AssertionError):
        require_exact_resume(lambda: tuned(name, "Full", task), lambda: rows(task, 2), tmp_path)


def test_a_mask_of_another_share_is_not_taken_over():
    """Where p was changed on purpose the method looks again, from the start that it then still has."""
    changed = tuned("ChildTuning-D", "Full", "class")
    changed.configure_model()
    (method,) = changed.regularizers
    assert isinstance(method, ChildTuning)
    masks = {name: torch.ones(p.shape, dtype=torch.bool) for p, name in method.names.items()}
    method.restore({"p": 0.5, "masks": masks})
    assert method.state() == {} and method.start
    method.restore({"p": 0.3, "masks": masks})
    assert method.state()["masks"].keys() == masks.keys() and not method.start
