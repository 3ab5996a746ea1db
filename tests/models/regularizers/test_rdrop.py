"""R-Drop against the paper's formula, and where it has nothing to compare."""

import pytest
import torch
from peft import LoHaConfig, LoraConfig

from finelab.contracts.errors import UserError
from finelab.models import CausalLM
from finelab.models.adapters import Full
from finelab.models.likelihoods import Categorical
from finelab.models.losses import token_nll
from finelab.models.regularizers import NEFTune, RDrop
from finelab.models.regularizers.regularizer import Outputs, Step, forward_drew

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


def lora(dropout):
    return LoraConfig(r=4, target_modules="all-linear", lora_dropout=dropout)


@pytest.mark.parametrize("adapter", [Full(), lora(0.0)], ids=["full", "lora"])
def test_a_model_without_dropout_is_refused_before_any_update(loader, fit, sgd, flat, adapter):
    module = CausalLM("tiny://llama", adapter, sgd, [RDrop(1.0)])
    module.configure_model()
    before = flat(module)
    with pytest.raises(UserError, match="lora_dropout"):
        fit(module, loader(4))
    assert torch.equal(flat(module), before)


def test_dropout_that_is_no_layer_counts(loader, fit, sgd):
    """Attention's rate is a number; LoHa's drops ranks without a module of its own."""
    module = CausalLM("tiny://llama", Full(), sgd, [RDrop(1.0)])
    module.configure_model()
    for layer in module.modules():
        if hasattr(layer, "attention_dropout"):
            layer.attention_dropout = 0.2
    trainer = fit(module, loader(4), max_epochs=1)
    assert trainer.callback_metrics["reg/RDrop"].item() > 0
    ranks = LoHaConfig(target_modules=["q_proj"], rank_dropout=0.5)
    fit(CausalLM("tiny://llama", ranks, sgd, [RDrop(1.0)]), loader(4), max_epochs=1)


@pytest.mark.parametrize("order", [1, -1], ids=["before", "after"])
def test_the_noise_of_another_method_counts(loader, fit, sgd, order):
    module = CausalLM("tiny://llama", Full(), sgd, [RDrop(1.0), NEFTune(5.0)][::order])
    trainer = fit(module, loader(4), max_epochs=1)
    assert trainer.callback_metrics["reg/RDrop"].item() > 0


def test_lora_dropout_counts_though_it_does_nothing_at_the_start(loader, fit, sgd):
    trainer = fit(CausalLM("tiny://llama", lora(0.5), sgd, [RDrop(1.0)]), loader(8), max_epochs=1)
    assert trainer.callback_metrics["reg/RDrop"].item() == 0.0


def test_a_draw_is_seen_and_reading_is_none():
    torch.manual_seed(5)
    assert not forward_drew(torch.device("cpu"))
    torch.nn.functional.dropout(torch.ones(3), 0.5)
    assert forward_drew(torch.device("cpu"))


def test_weight_zero_is_the_baseline_bit_for_bit(loader, sgd, fit, flat):
    states = []
    for methods in ([], [RDrop(0.0)]):
        module = CausalLM("tiny://llama", lora(0.2), sgd, methods)
        fit(module, loader(2))
        states.append((flat(module), torch.get_rng_state()))
    assert torch.equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1], states[1][1])


def test_a_tiny_weight_is_the_mean_of_two_passes(loader, sgd, fit):
    """The first pass has the baseline's masks, so that its logged NLL is the baseline's; the loss is not."""
    metrics = []
    for methods in ([], [RDrop(1e-12)]):
        module = CausalLM("tiny://llama", lora(0.5), sgd, methods)
        module.configure_model()
        torch.manual_seed(0)
        for name, p in module.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(p, std=0.5)
        metrics.append(fit(module, loader(8), max_epochs=1).callback_metrics)
    assert torch.equal(metrics[0]["train/nll"], metrics[1]["train/nll"])
    assert not torch.equal(metrics[0]["train/loss"], metrics[1]["train/loss"])


def test_a_negative_weight_is_refused():
    with pytest.raises(UserError, match="0 or more"):
        RDrop(-1.0)
