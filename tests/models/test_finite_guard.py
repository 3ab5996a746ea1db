"""What stops being a number is named: each method's term, the gradient of a term, the shaping, the loss scale."""

import re

import pytest
import torch
from peft import LoraConfig

from finelab.models import CausalLM
from finelab.models.adapters import Full
from finelab.models.finite_guard import FiniteGuard, listed
from finelab.models.non_finite_error import NonFiniteError
from finelab.models.regularizers import L2SP, SAM, FreeLB, KLToBase, LabelSmoothing, RDrop
from finelab.models.regularizers.regularizer import Regularizer, Term
from finelab.models.stack import Named
from finelab.models.window import Window

METHODS = [lambda: KLToBase(0.1), lambda: LabelSmoothing(0.1), lambda: RDrop(1.0), lambda: L2SP(0.1)]


def stopped(fit, module, batches, **options) -> str:
    with pytest.raises(NonFiniteError) as raised:
        fit(module, batches, **options)
    return str(raised.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("make", METHODS, ids=["KLToBase", "LabelSmoothing", "RDrop", "L2SP"])
def test_the_term_of_each_method(make, value, loader, sgd, fit, flat):
    """At the second step, in the second of its micro-batches."""
    method = make()
    hook = "parameter_term" if isinstance(method, L2SP) else "token_term"
    adapter = LoraConfig(r=2, lora_dropout=0.1, target_modules=["q_proj"]) if isinstance(method, RDrop) else Full()
    module = CausalLM("tiny://llama", adapter, sgd, [method])
    calls, weights, term = [], [], getattr(method, hook)

    def broken(*arguments):
        calls.append(1)
        found = term(*arguments)
        if len(calls) < (2 if hook == "parameter_term" else 4):
            return found
        weights.append(flat(module))
        return Term(found.addition * 0 + value, found.shown * 0 + value)

    setattr(method, hook, broken)
    said = stopped(fit, module, loader(2), max_epochs=1, accumulate_grad_batches=2)
    name = type(method).__name__
    if hook == "parameter_term":
        assert f"step 2: reg/{name}, a term of the weights, is not finite, in the step of samples" in said
        assert "[4, 5, 6, 7]" in said
    else:
        assert f"step 2: reg/{name} is not finite, in the batch of samples (sample_id) [6, 7]." in said
    assert re.search(r"The learning rate was 0\.\d+;", said)
    assert torch.equal(flat(module), weights[0])


class Broken(Regularizer):
    """Its value is 0, and the gradient of a norm at its own point is no number."""

    def attach(self, model):
        self.weights = list(model.parameters())

    def parameter_term(self):
        value = sum((p - p.detach()).square().sum() for p in self.weights).sqrt()
        return Term(value, value.detach())


class Shaper(Regularizer):
    def shape_gradients(self, parameters, replay):
        parameters[0].grad[0, 0] = float("inf")


@pytest.mark.parametrize(
    ("method", "what"),
    [
        (Broken, "the gradient of reg/Broken is not finite, in the step of samples (sample_id) [0, 1]"),
        (Shaper, "the gradient of the objective, after Shaper shaped it, at model."),
    ],
)
def test_whose_gradient_it_is(method, what, loader, sgd, fit, flat):
    module = CausalLM("tiny://llama", Full(), sgd, [method()])
    module.configure_model()
    before = flat(module)
    assert what in stopped(fit, module, loader(2))
    assert torch.equal(flat(module), before)


@pytest.mark.parametrize("method", [lambda: SAM(), lambda: FreeLB()], ids=["SAM", "FreeLB"])
def test_a_method_that_computes_again_gets_no_number_to_work_with(method, loader, sgd, fit, flat):
    module = CausalLM("tiny://llama", Full(), sgd, [method()])
    module.configure_model()
    before, supervised = flat(module), module.supervised

    def broken(batch):
        outputs, targets, rows = supervised(batch)
        return outputs._replace(logits=outputs.logits * float("nan")), targets, rows

    module.supervised = broken
    assert "step 1: nll is not finite" in stopped(fit, module, loader(2))
    assert torch.equal(flat(module), before)


@pytest.mark.parametrize(("scale", "stops"), [(65536.0, False), (2.0, False), (1.0, True), (None, True)])
def test_under_float16_an_infinite_gradient_stops_only_where_it_is_not_the_scale(scale, stops):
    window = Window(sample_ids=[torch.tensor([3])], totals=[torch.tensor(1.0)])
    guard = FiniteGuard(window, 4, 0.1, [])
    scaler = None
    if scale is not None:
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        scaler.scale(torch.zeros(()))
    p = torch.nn.Parameter(torch.ones(1))
    p.grad = torch.full((1,), float("inf"))
    if not stops:
        guard.gradient(p.grad.norm(), scaler, [("w", p)])
        return
    with pytest.raises(NonFiniteError, match=r"step 5: the gradient of the objective at w is not finite, .* \[3\]"):
        guard.gradient(p.grad.norm(), scaler, [("w", p)])


def test_a_norm_that_overflows_is_told_from_a_gradient_that_does(loader):
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.full((2,), 1e30)
    guard = FiniteGuard(Window(), 0, 0.1, [Named("Nothing", Regularizer())])
    with pytest.raises(NonFiniteError, match="their squares overflow"):
        guard.gradient(torch.tensor(float("inf")), None, [("w", p)])


def test_samples_of_all_ranks_are_listed_as_far_as_a_message_holds_them():
    assert listed([[1, 2]]) == "samples (sample_id) [1, 2]"
    assert listed([[], [5]]) == "samples (sample_id) [5] of rank 1"
    assert listed([[1], [5]]) == "samples (sample_id) [1] of rank 0 and [5] of rank 1"
    assert listed([list(range(60)), list(range(60, 90))]).endswith("[60, 61, 62, 63] of rank 1 and 26 more")
    assert listed([[]]) == "samples without a sample_id"
