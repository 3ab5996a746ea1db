"""Each method against its closed form."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from finelab.contracts.errors import UserError
from finelab.models import CausalLM
from finelab.models.likelihoods import Categorical
from finelab.models.losses import symmetric_kl, token_nll
from finelab.models.regularizers import L2SP, RDrop
from finelab.models.regularizers.low_rank import low_rank_square
from finelab.models.regularizers.rdrop import dropout_rates
from finelab.models.regularizers.regularizer import Fresh, Outputs, Step

FIRST, SECOND = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])


def step(first, second, target):
    targets = torch.tensor([target])
    nll = token_nll(first, targets)
    return Step(
        Outputs(first, first),
        targets,
        torch.tensor([0]),
        nll,
        Categorical(),
        lambda: Outputs(second, second),
        lambda: Outputs(first, first),
    )


def test_symmetric_kl_of_the_known_case():
    """z1 = (1,0,0), z2 = (0,1,0): both directions are p1 - p2 = 0.364175."""
    assert symmetric_kl(FIRST, SECOND).item() == pytest.approx(0.364175, abs=1e-6)
    assert symmetric_kl(FIRST, FIRST).item() == 0.0


@pytest.mark.parametrize("weight", [1.0, 5.0])
def test_rdrop_is_half_the_papers_objective(weight):
    """CE1 + CE2 = 2.102889 and the paper's loss at alpha 1 is 2.467065; ours is half of it, per position."""
    case = step(FIRST, SECOND, 0)
    term = RDrop(weight).token_term(case)
    objective = case.nll.sum() + term.addition
    assert objective.item() == pytest.approx(0.5 * (2.102889 + weight * 0.364175), abs=1e-6)
    assert term.shown.item() == pytest.approx(0.364175, abs=1e-6)


def test_rdrop_sends_gradients_through_both_passes():
    first, second = FIRST.clone().requires_grad_(), SECOND.clone().requires_grad_()
    RDrop(1.0).token_term(step(first, second, 0)).addition.backward()
    assert first.grad.abs().min() > 0
    assert second.grad.abs().min() > 0


def test_rdrop_refuses_a_model_without_dropout(sgd):
    module = CausalLM("tiny://llama", LoraConfig(target_modules="all-linear", lora_dropout=0.0), sgd, [RDrop(1.0)])
    with pytest.raises(UserError, match="lora_dropout"):
        module.configure_model()


def test_dropout_is_found_as_a_layer_and_as_an_attention_rate():
    plain, attention = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.3)), nn.Linear(2, 2)
    attention.attention_dropout = 0.2
    assert dropout_rates(plain) == [0.3] + [0.0] * 3
    assert max(dropout_rates(attention)) == 0.2


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


def test_l2sp_pulls_a_new_head_to_zero_and_not_to_its_random_start():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(2, 2, bias=False), Fresh()
            self.head.weight = nn.Parameter(torch.tensor([3.0, 4.0]))

    penalty = L2SP(0.1, head_weight=0.2)
    penalty.attach(Model())
    assert penalty.parameter_term().addition.item() == pytest.approx(0.5 * 0.2 * 25.0)
    assert penalty.parameter_term().shown.item() == 0.0


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
