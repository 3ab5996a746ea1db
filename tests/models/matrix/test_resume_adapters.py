"""A run that goes on has every adapter where it was, to the bit, and no state is loaded onto another start."""

import functools
import tempfile
from pathlib import Path

import peft
import pytest
import torch
from peft import AdaLoraConfig, AdamssConfig, LoraConfig, VeloraConfig
from peft.tuners.lora.config import CordaConfig, LoraGAConfig
from torch import nn

from finelab.callbacks.state_io import StateIO
from finelab.contracts.errors import UserError
from finelab.contracts.seeds import Seeds
from finelab.models import frozen
from finelab.models.adapters import Full, peft_lora
from finelab.models.regularizers import L2SP

from ..adapters.adapter_cases import TASKS, Case, Task, every_case
from .resumed_runs import killed, require_exact_plain_resume, require_exact_resume, train


def lora(**options) -> Case:
    """LoRA with dropout on all linear layers."""
    name = ", ".join(f"{key}={value}" for key, value in options.items() if isinstance(value, str))
    settings = {"r": 4, "target_modules": "all-linear", "lora_dropout": 0.1} | options
    tasks = ("causal LM", "classification") if "eva" in name else tuple(TASKS)  # PEFT's EVA refuses two sequences
    return Case(f"LoRA {name}", lambda task: LoraConfig(**settings), tasks=tasks)


def velora(init_type: str) -> Case:
    config = functools.partial(VeloraConfig, num_groups=4, init_type=init_type)
    return Case(f"VeLoRA {init_type}", lambda task: LoraConfig(target_modules="all-linear", velora_config=config()))


def linear(make: type[peft.PeftConfig], name: str, **options) -> Case:
    return Case(name, lambda task: make(**{"target_modules": task.linear} | options))


BEYOND = [
    lora(init_lora_weights="pissa", lora_alpha=8),
    lora(init_lora_weights="eva"),
    lora(init_lora_weights="corda", corda_config=CordaConfig()),
    lora(init_lora_weights="lora_ga", lora_ga_config=LoraGAConfig()),
    velora("batch_average_once"),
    velora("batch_average"),
    velora("random"),
    linear(AdaLoraConfig, "AdaLoRA in its schedule", init_r=6, target_r=2, total_step=4, lora_dropout=0.1),
    linear(
        AdamssConfig,
        "AdaMSS in its schedule",
        r=8,
        num_subspaces=3,
        use_asa=True,
        asa_target_subspaces=4,
        init_warmup=1,
        final_warmup=4,
        mask_interval=1,
    ),
]
"""Inits that look at data, and schedules that the stop falls into."""

FAST = {
    ("Full", "classification"),
    ("LoRA init_lora_weights=corda", "causal LM"),
    ("LoRA init_lora_weights=pissa", "seq2seq"),
    ("AdaLoRA in its schedule", "classification"),
    ("AdaMSS in its schedule", "causal LM"),
    ("VeLoRA batch_average_once", "causal LM"),
}
CASES = [
    pytest.param(case, TASKS[task], marks=[] if (case.name, task) in FAST else [pytest.mark.slow])
    for case in [*every_case(), *BEYOND]
    for task in case.tasks
    if task not in case.refused
]


def identity(value: Case | Task) -> str:
    return value.name


@pytest.mark.parametrize(("case", "task"), CASES, ids=identity)
def test_a_resumed_run_is_the_run(case, task, tmp_path):
    require_exact_resume(lambda: task.module(case.config(task)), task.loader, tmp_path)


PRECISE = ("Full", "LoRA init_lora_weights=pissa", "LoRA init_lora_weights=eva", "AdaLoRA in its schedule")


@pytest.mark.parametrize(
    "precision",
    ["64-true", pytest.param("bf16-true", marks=pytest.mark.slow), pytest.param("bf16-mixed", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("case", [case for case in [*every_case(), *BEYOND] if case.name in PRECISE], ids=identity)
def test_a_resumed_run_is_the_run_in_every_precision(case, precision, tmp_path):
    """Lightning (2.6.6) restores weights before it converts the module."""
    task = TASKS["causal LM"]
    require_exact_resume(lambda: task.module(case.config(task)), task.loader, tmp_path, precision=precision)


@pytest.mark.parametrize("name", ["AdaLoRA in its schedule", "AdaMSS in its schedule"])
def test_a_plain_checkpoint_holds_both_update_and_allocation(name, tmp_path):
    case, task = next(case for case in BEYOND if case.name == name), TASKS["classification"]
    require_exact_plain_resume(lambda: task.module(case.config(task)), task.loader, tmp_path)


def stopped(config, run: Path, task: Task = TASKS["causal LM"], **options) -> Path:
    return killed(task.module(config, **options), task.loader(), run)


@pytest.mark.parametrize(
    ("init", "precision"),
    [(init, "32-true") for init in ("pissa_niter_4", "olora", "eva", "corda", "lora_ga")] + [("olora", "64-true")],
)
def test_a_start_that_comes_out_otherwise_is_taken_from_the_state(init, precision, tmp_path, monkeypatch):
    """On another device or machine an init finds other directions; the run goes on from those that it began with."""
    sections = {"corda": {"corda_config": CordaConfig()}, "lora_ga": {"lora_ga_config": LoraGAConfig()}}
    config = functools.partial(LoraConfig, r=4, target_modules="all-linear", init_lora_weights=init)
    task, options = TASKS["causal LM"], sections.get(init, {})

    def make():
        return task.module(config(**options), regularizers=[L2SP(0.3)])

    whole = train(make(), task.loader(), tmp_path / "whole", precision=precision)
    state = killed(make(), task.loader(), tmp_path / "broken", precision=precision)

    def elsewhere(find, *arguments, **more):
        with torch.random.fork_rng():
            torch.manual_seed(99)
            return find(*arguments, **more)

    adapt, look = peft_lora.Peft.adapt, peft_lora.look
    built = []

    def adapt_elsewhere(self, backbone):
        built.append(self)
        if len(built) > 1 or init not in ("pissa_niter_4", "olora"):
            return adapt(self, backbone)
        for p in backbone.parameters():  # rounding of another machine, for as long as the init looks at it
            p.data.mul_(1 + 1e-6)
        return elsewhere(adapt, self, backbone)

    def look_elsewhere(config, backbone, survey):
        def fewer(limit):
            return rows(limit)[1:]

        rows = survey.everyones_rows
        survey.everyones_rows = fewer
        return look(config, backbone, survey)

    monkeypatch.setattr(peft_lora.Peft, "adapt", adapt_elsewhere)
    monkeypatch.setattr(peft_lora, "look", look_elsewhere)
    whole.require_same(train(make(), task.loader(), tmp_path / "broken", state=state, precision=precision))
    assert len(built) == 2, "the first start was to be another one"


REFUSED = {
    "init seed": (lambda: LoraConfig(r=4), {"seeds": Seeds(1, 2, 1)}, "init seed 1, and this run has 2"),
    "scale": (lambda: LoraConfig(r=4, lora_alpha=16), {}, "its lora_alpha is 8 and this one's is 16"),
    "rank": (lambda: LoraConfig(r=2), {}, "its r is 4 and this one's is 2"),
    "adapter": (Full, {}, "adapter is .*Lora"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_state_of_another_start_is_refused(what, tmp_path):
    state = stopped(LoraConfig(r=4), tmp_path)
    make, options, said = REFUSED[what]
    with pytest.raises(UserError, match=said):
        train(TASKS["causal LM"].module(make(), **options), TASKS["causal LM"].loader(), tmp_path, state=state)


def test_another_dropout_may_go_on(tmp_path):
    """It shapes nothing; the command line is what asks whether it was meant."""
    state = stopped(LoraConfig(r=4, lora_dropout=0.1), tmp_path)
    module = TASKS["causal LM"].module(LoraConfig(r=4, lora_dropout=0.2))
    assert len(train(module, TASKS["causal LM"].loader(), tmp_path, state=state).losses) == 2


def test_a_decomposition_of_another_machine_is_refused(tmp_path, monkeypatch):
    """OSF freezes the large singular directions: with other ones the trained small ones are those of another weight."""
    config = functools.partial(peft.OSFConfig, target_modules="all-linear", effective_rank=8)
    state = stopped(config(), tmp_path)
    adapt = peft_lora.Peft.adapt

    def rounded(self, backbone):
        for name, p in backbone.named_parameters():
            if name.endswith("v_proj.weight"):
                p.data = p.data * (1 + 1e-6)
        return adapt(self, backbone)

    monkeypatch.setattr(peft_lora.Peft, "adapt", rounded)
    with pytest.raises(UserError, match="PeftOsf makes frozen tensors.*OMP_NUM_THREADS"):
        train(TASKS["causal LM"].module(config()), TASKS["causal LM"].loader(), tmp_path, state=state)


REWRITES = ("pissa", "olora", "corda", "lora_ga", "PiSSA", "OLoRA", "KaSA")
"""Inits that rewrite weights of the base where they stand, by factors that the state holds (KaSA: by none)."""


@pytest.mark.slow
@pytest.mark.parametrize(("case", "task"), CASES, ids=identity)
def test_what_an_adapter_makes_is_told_from_the_base(case, task):
    """Every frozen tensor that is not the base's to the bit is among those whose digest a state holds."""
    base = {summary(x) for _, x in frozen.tensors(task.backbone())}
    missed = []

    class Seen(frozen.Loaded):
        def digest_of_made(self, model: nn.Module) -> str:
            old = [(name, x) for name, x in frozen.tensors(model) if not x.requires_grad and id(x) in self.known]
            missed.extend(name for name, x in old if summary(x) not in base)
            return super().digest_of_made(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finelab.models.finetuner.Loaded", Seen)
        task.module(case.config(task)).configure_model()
    rewrites = any(name in case.name for name in REWRITES)
    assert [name for name in missed if not (rewrites and name.endswith("base_layer.weight"))] == []


def summary(x: torch.Tensor) -> tuple:
    return tuple(x.shape), x.double().sum().item(), x.double().square().sum().item()


def test_running_statistics_travel_with_the_state(tmp_path):
    """A batch norm moves its buffers without a gradient."""

    def make():
        module = TASKS["classification"].module(Full())
        module.configure_model()
        assert module.model is not None
        embedding = module.adapted.get_submodule("embeddings.word_embeddings")
        norm = nn.BatchNorm1d(embedding.weight.shape[1])
        module.adapted.add_module("norm", norm)
        embedding.register_forward_hook(lambda _, __, out: norm(out.transpose(1, 2)).transpose(1, 2))
        return module

    require_exact_resume(make, TASKS["classification"].loader, tmp_path)


def test_the_state_holds_no_frozen_weight(tmp_path):
    state = StateIO().load_checkpoint(stopped(LoraConfig(r=4), tmp_path))
    module = TASKS["causal LM"].module(LoraConfig(r=4))
    module.configure_model()
    assert state["state_dict"].keys() == module.trainable_state().keys()
    assert not state["adapter"]["start"] and not state["objective"]["methods"]
    assert tempfile.gettempdir() not in str(state["adapter"])
