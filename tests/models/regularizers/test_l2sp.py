"""L2-SP against closed forms, on full weights and on the update of every adapter that has one."""

import copy
import functools
import warnings

import peft
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM

from finelab.contracts.errors import UserError
from finelab.models import CausalLM, SequenceClassifier
from finelab.models.adapters import Full, LinearProbe
from finelab.models.backbone import Loading, load
from finelab.models.regularizers import L2SP
from finelab.models.regularizers.low_rank import low_rank_square
from finelab.models.regularizers.regularizer import Fresh
from finelab.models.stack import PATIENCE


def test_l2sp_moves_to_the_closed_form_minimum():
    """argmin of 1/2 (w - w*)' H (w - w*) + 1/2 |w - w0|^2 with H = diag(4, .5), w* = (2, 2), w0 = 0: (1.6, 0.6667)."""
    model = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(model.weight)
    penalty = L2SP(1.0)
    penalty.attach(model)
    curvature, optimum = torch.tensor([[4.0, 0.5]]), torch.tensor([[2.0, 2.0]])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        task = 0.5 * (curvature * (model.weight - optimum).square()).sum()
        (task + penalty.parameter_term().addition).backward()
        optimizer.step()
    assert model.weight.detach().flatten().tolist() == pytest.approx([1.6, 2 / 3], abs=1e-5)


def test_l2sp_on_lora_is_the_distance_of_effective_weights():
    backbone = nn.Sequential(nn.Linear(6, 5))
    start = backbone[0].weight.detach().clone()
    model = get_peft_model(backbone, LoraConfig(r=2, lora_alpha=6, target_modules=["0"]))
    penalty = L2SP(0.5)
    penalty.attach(model)
    assert penalty.parameter_term().addition.item() == 0.0
    torch.manual_seed(0)
    nn.init.normal_(model.base_model.model[0].lora_B["default"].weight)
    term = penalty.parameter_term()
    moved = (model.merge_and_unload()[0].weight - start).square().sum().item()
    assert term.shown.item() == pytest.approx(0.5 * moved, rel=1e-5)
    assert term.addition.item() == pytest.approx(0.25 * moved, rel=1e-5)


def test_low_rank_square_forms_no_product():
    torch.manual_seed(0)
    a, b = torch.randn(3, 7), torch.randn(5, 3)
    assert low_rank_square(a, b, 2.0).item() == pytest.approx((2 * b @ a).square().sum().item(), rel=1e-5)


class Headed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(2, 2, bias=False), Fresh()
        self.head.weight = nn.Parameter(torch.tensor([3.0, 4.0]))


def test_l2sp_pulls_a_new_head_to_zero_and_not_to_its_random_start():
    penalty = L2SP(0.1, head_weight=0.2)
    penalty.attach(Headed())
    assert penalty.parameter_term().addition.item() == pytest.approx(0.5 * 0.2 * 25.0)
    assert penalty.parameter_term().shown.item() == pytest.approx(0.5 * 25.0)


@pytest.mark.parametrize("head_weight, shown", [(0.2, 0.5 * 25.0 + 0.5 * 4.0), (0.0, 0.5 * 4.0)])
def test_l2sp_shows_the_parts_that_it_weighs(head_weight, shown):
    penalty, model = L2SP(0.1, head_weight), Headed()
    penalty.attach(model)
    with torch.no_grad():
        model.body.weight += 1.0
    assert penalty.parameter_term().shown.item() == pytest.approx(shown)


def test_l2sp_on_a_new_head_alone_acts_and_does_not_warn(loader, fit, sgd):
    module = SequenceClassifier("tiny://bert", LinearProbe(), sgd, [L2SP(1.0)], labels=["a", "b"])
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        trainer = fit(module, loader(8, classes=2), max_epochs=PATIENCE + 1)
    assert trainer.callback_metrics["reg/L2SP"].item() > 0
    assert not [each for each in found if "exactly 0" in str(each.message)]


@pytest.mark.parametrize("target, adapter, weights", [("class", LinearProbe, (0.1, 0.0)), ("lm", Full, (0.0, 0.1))])
def test_l2sp_refuses_weights_that_nothing_is_there_for(sgd, target, adapter, weights):
    if target == "class":
        module = SequenceClassifier("tiny://bert", adapter(), sgd, [L2SP(*weights)], labels=["a", "b"])
    else:
        module = CausalLM("tiny://llama", adapter(), sgd, [L2SP(*weights)])
    with pytest.raises(UserError, match="nothing to act on"):
        module.configure_model()


def test_l2sp_on_the_experts_of_target_parameters_is_the_distance_of_their_weights():
    """All experts' factors stand in one pair, whose product has the ranks of one expert meet those of another."""
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_local_experts": 4}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 64}
    names = ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"]
    backbone = MixtralForCausalLM(MixtralConfig(**size, **heads))
    experts = backbone.model.layers[0].mlp.experts
    start = [experts.down_proj.detach().clone(), experts.gate_up_proj.detach().clone()]
    model = get_peft_model(backbone, LoraConfig(r=2, lora_alpha=4, target_modules=[], target_parameters=names))
    penalty = L2SP(0.5)
    penalty.attach(model)
    assert not penalty.anchored
    assert penalty.parameter_term().shown.item() == 0.0
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.normal_()
    term = penalty.parameter_term()
    merged = model.merge_and_unload().model.layers[0].mlp.experts
    moved = [merged.down_proj - start[0], merged.gate_up_proj - start[1]]
    assert term.shown.item() == pytest.approx(0.5 * sum(part.square().sum().item() for part in moved), rel=1e-4)


@pytest.mark.parametrize("init", [True, False, "pissa", "olora"])
def test_l2sp_on_lora_starts_at_zero_whatever_the_init(init):
    """PiSSA and OLoRA move part of the weight into the factors; the distance is still that of effective weights."""
    torch.manual_seed(0)
    model = get_peft_model(
        nn.Sequential(nn.Linear(6, 5)), LoraConfig(r=2, lora_alpha=6, target_modules=["0"], init_lora_weights=init)
    )
    layer = model.base_model.model[0]
    start = layer.get_delta_weight("default").detach().clone()
    penalty = L2SP(1.0)
    penalty.attach(model)
    assert penalty.parameter_term().addition.item() == pytest.approx(0.0, abs=1e-5)
    with torch.no_grad():
        layer.lora_A["default"].weight.add_(0.3)
        layer.lora_B["default"].weight.add_(0.2)
    moved = (layer.get_delta_weight("default") - start).square().sum().item()
    assert penalty.parameter_term().shown.item() == pytest.approx(0.5 * moved, rel=1e-4)


def test_l2sp_sees_lora_on_an_embedding():
    model = get_peft_model(nn.Sequential(nn.Embedding(7, 5)), LoraConfig(r=2, target_modules=["0"]))
    penalty = L2SP(1.0)
    penalty.attach(model)
    with torch.no_grad():
        model.base_model.model[0].lora_embedding_A["default"].add_(0.3)
        model.base_model.model[0].lora_embedding_B["default"].add_(0.2)
    moved = model.base_model.model[0].get_delta_weight("default").square().sum().item()
    assert penalty.parameter_term().shown.item() == pytest.approx(0.5 * moved, rel=1e-5)
    assert not penalty.anchored


TARGETS = ["q_proj", "v_proj"]
BUILT = {
    "adalora": peft.AdaLoraConfig(target_modules=TARGETS, total_step=10),
    "fourierft": peft.FourierFTConfig(target_modules=TARGETS, n_frequency=10),
    "loha": peft.LoHaConfig(target_modules=TARGETS),
    "lokr": peft.LoKrConfig(target_modules=TARGETS),
    "randlora": peft.RandLoraConfig(target_modules=TARGETS, r=4),
    "vblora": peft.VBLoRAConfig(target_modules=TARGETS, vector_length=4, num_vectors=8),
    "vera": peft.VeraConfig(target_modules=TARGETS, r=4),
}


@pytest.mark.parametrize("name", BUILT)
def test_l2sp_on_what_an_adapter_builds_is_the_distance_of_the_merged_weights(name):
    """Independent of the factors: merged before and after they move."""

    def made():
        torch.manual_seed(0)
        return get_peft_model(load("tiny://llama", "causal_lm", Loading()).model, copy.deepcopy(BUILT[name]))

    def merged(model):
        layers = model.merge_and_unload().model.layers
        weights = [getattr(layer.self_attn, name).weight for layer in layers for name in TARGETS]
        return torch.cat([w.detach().flatten() for w in weights])

    moved, method = made(), L2SP(0.5)
    method.attach(moved)
    assert not method.anchored
    assert method.parameter_term().shown.item() == 0.0
    torch.manual_seed(0)
    with torch.no_grad():
        for p in moved.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
    term = method.parameter_term()
    gradients = torch.autograd.grad(term.addition, [p for p in moved.parameters() if p.requires_grad])
    assert all(g.isfinite().all() and g.any() for g in gradients)
    expected = 0.5 * (merged(moved) - merged(made())).square().sum().item()
    assert expected > 0
    assert term.shown.item() == pytest.approx(expected, rel=1e-3)
    assert term.addition.item() == pytest.approx(0.5 * term.shown.item())


def test_what_has_no_weight_to_compare_is_anchored_at_its_start(sgd):
    """IA3's scales start at one, and that is where they are held."""
    config = peft.IA3Config(target_modules=TARGETS, feedforward_modules=[])
    module = CausalLM("tiny://llama", config, sgd, [L2SP(1.0)])
    module.configure_model()
    method = module.stack[0].method
    with torch.no_grad():
        for p, _ in method.anchored:
            p.add_(0.5)
    count = sum(p.numel() for p in module.parameters() if p.requires_grad)
    assert method.parameter_term().shown.item() == pytest.approx(0.5 * 0.25 * count)


def test_weight_zero_installs_nothing(loader, fit, sgd, flat):
    states = []
    for methods in ([], [L2SP(0.0)]):
        module = SequenceClassifier("tiny://bert", Full(), sgd, methods, labels=["a", "b"])
        fit(module, loader(2, classes=2))
        states.append((flat(module), torch.get_rng_state()))
    assert torch.equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1], states[1][1])


def test_without_its_short_cut_weight_zero_is_the_baseline(loader, fit, sgd, flat):
    weights = []
    for methods in ([], [L2SP(1e-30)]):
        module = SequenceClassifier("tiny://bert", Full(), sgd, methods, labels=["a", "b"])
        fit(module, loader(2, classes=2))
        weights.append(flat(module))
    assert (weights[0] - weights[1]).abs().max() < 1e-6


def test_a_heavy_weight_holds_full_fine_tuning_at_the_base(loader, fit):
    distances = []
    for weight in (1e-9, 1.0):
        module = CausalLM("tiny://llama", Full(), functools.partial(torch.optim.SGD, lr=0.3), [L2SP(weight)])
        distances.append(fit(module, loader(8), max_epochs=12).callback_metrics["reg/L2SP"].item())
    assert distances[0] > 2 * distances[1] > 0
