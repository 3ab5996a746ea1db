"""Who is spared weight decay, and the learning rate's course."""

import pytest
import torch
from peft import (
    IA3Config,
    LNTuningConfig,
    LoraConfig,
    OSFConfig,
    PromptTuningConfig,
    RoadConfig,
    VeraConfig,
    get_peft_model,
)
from torch import nn

from finelab.models import CausalLM, WarmupConstant, WarmupCosine, WarmupLinear
from finelab.models.adapters import Full, NormTuning
from finelab.models.parameter_groups import parameter_groups, undecayed


class OddNorm(nn.Module):
    """A norm of a model's own, whose gain has two dimensions and a name that says nothing."""

    def __init__(self):
        super().__init__()
        self.ln_f = nn.Parameter(torch.full((4, 2), 0.5))


def names(model):
    spared = undecayed(model)
    return {name for name, p in model.named_parameters() if id(p) in spared}


def test_norms_biases_and_vectors_are_spared():
    model = nn.ModuleDict(
        {"linear": nn.Linear(4, 4), "norm": nn.LayerNorm(4), "odd": OddNorm(), "emb": nn.Embedding(3, 4)}
    )
    assert names(model) == {"linear.bias", "norm.weight", "norm.bias", "odd.ln_f"}


def test_norms_of_transformers_are_spared(sgd):
    module = CausalLM("tiny://llama", Full(), sgd)
    module.configure_model()
    assert all(("norm" in name) == (name in names(module.model)) for name, _ in module.model.named_parameters())


def test_scales_that_start_at_one_are_spared_and_lora_of_rank_one_is_not():
    ia3 = get_peft_model(nn.Sequential(nn.Linear(4, 4)), IA3Config(target_modules=["0"], feedforward_modules=[]))
    assert [name for name in names(ia3) if "ia3" in name]
    lora = get_peft_model(nn.Sequential(nn.Linear(4, 4)), LoraConfig(r=1, target_modules=["0"]))
    assert not names(lora)


def test_decay_acts_on_the_decayed_group_alone():
    """theta = 1, no gradient, lr .1, decay .3: .97^10 = 0.737424 after ten steps."""
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, 1.0)
    nn.init.constant_(model.bias, 1.0)
    exempt = {id(model.bias)}
    optimizer = torch.optim.AdamW(parameter_groups(model.parameters(), exempt), lr=0.1, weight_decay=0.3)
    for _ in range(10):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    assert model.weight[0, 0].item() == pytest.approx(0.737424, abs=1e-6)
    assert model.bias.tolist() == [1.0, 1.0]


def test_schedules_at_their_corners():
    linear, cosine, constant = WarmupLinear(0.1), WarmupCosine(), WarmupConstant(0.5)
    assert [linear.multiplier(t, 100) for t in (0, 9, 10, 55, 100)] == pytest.approx([1 / 11, 10 / 11, 1, 0.5, 0])
    assert [cosine.multiplier(t, 100) for t in (0, 50, 100)] == pytest.approx([1, 0.5, 0])
    assert [constant.multiplier(t, 10) for t in (0, 4, 5, 9)] == pytest.approx([1 / 6, 5 / 6, 1, 1])
    with pytest.raises(ValueError, match="1.5"):
        WarmupLinear(1.5)


KINDS = {  # what of it must outlive any decay
    "IA3": (IA3Config(target_modules=["v_proj", "down_proj"], feedforward_modules=["down_proj"]), "ia3_l"),
    "DoRA": (LoraConfig(r=2, target_modules=["q_proj"], use_dora=True), "magnitude"),
    "VeRA": (VeraConfig(r=4, target_modules=["q_proj", "o_proj"]), "vera_lambda_d"),
    "LNTuning": (LNTuningConfig(target_modules=["norm"]), "norm"),
    "RoAd": (RoadConfig(target_modules=["q_proj"], group_size=8), "road_"),
    "PiSSA": (LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa"), "lora_"),
    "OLoRA": (LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="olora"), "lora_"),
    "OSF": (OSFConfig(target_modules=["q_proj"], effective_rank=4), "osf_"),
    "prompt": (PromptTuningConfig(num_virtual_tokens=3), "prompt"),
    "NormTuning": (NormTuning(), "norm"),
    "a full model's norms": (Full(), "norm"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_steps_of_decay_alone_leave_scales_and_pretrained_parts(sgd, kind):
    """Ten steps of decay .3 at rate .1 leave .737424 of what they act on, and all of what they must not."""
    adapter, protected = KINDS[kind]
    module = CausalLM("tiny://llama", adapter, sgd)
    module.configure_model()
    trained = {name: p for name, p in module.model.named_parameters() if p.requires_grad}
    for p in trained.values():
        if not p.any():
            p.data.fill_(0.5)
    before = {name: p.detach().clone() for name, p in trained.items()}
    optimizer = torch.optim.AdamW(parameter_groups(trained.values(), module.exempt), lr=0.1, weight_decay=0.3)
    for _ in range(10):
        for p in trained.values():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    kept = {name for name, p in trained.items() if torch.equal(p, before[name])}
    assert any(protected in name for name in trained)
    assert {name for name in trained if protected in name} <= kept
    for name in trained.keys() - kept:
        assert torch.allclose(trained[name], before[name] * 0.737424, atol=1e-5), name
    assert (kept == trained.keys()) == (kind not in ("DoRA", "a full model's norms"))
