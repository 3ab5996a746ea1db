"""Who is spared weight decay, and the learning rate's course."""

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from torch import nn

from finelab.models import CausalLM, WarmupConstant, WarmupCosine, WarmupLinear
from finelab.models.adapters import Full
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
