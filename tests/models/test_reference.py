"""The reference forward is the untouched base, whatever the precision and whatever has been trained."""

import functools

import lightning as L
import pytest
import torch
from peft import LoraConfig

from finelab.models import CausalLM
from finelab.models.adapters import Full
from finelab.models.regularizers.regularizer import Regularizer, Term


class Distance(Regularizer):
    """Twice the reference in every micro-batch, kept for comparison; adds nothing."""

    reads_base = True

    def __init__(self):
        self.references, self.first = [], []

    def token_term(self, step):
        assert step.reference() is step.reference()
        self.references.append(step.reference().logits)
        self.first.append(step.logits.detach())
        return Term(0.0 * step.nll.sum(), (step.logits - step.reference().logits).square().sum())


def adapters():
    return {"full": Full(), "lora": LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.2)}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", ["full", "lora"])
def test_the_reference_is_the_base_at_every_step(loader, fit, name, precision):
    method = Distance()
    rate = functools.partial(torch.optim.SGD, lr=1.0)
    module = CausalLM("tiny://llama", adapters()[name], rate, [method])
    fit(module, loader(8), precision=precision)
    untouched = CausalLM("tiny://llama", Full(), rate)
    untouched.configure_model()
    untouched.eval()
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision != "32-true")
    with torch.no_grad(), autocast:
        expected = untouched.supervised(next(iter(loader(8))))[0].logits
    assert len(method.references) == 3
    for reference in method.references:
        assert torch.equal(reference, expected)
    assert not torch.allclose(method.first[-1], expected, atol=1e-2)


class Second(Regularizer):
    """One more forward after the reference, whose gradient must reach the weights."""

    reads_base = True

    def token_term(self, step):
        step.reference()
        second = step.likelihood.nll(step.forward().logits, step.targets).sum()
        return Term(second - step.nll.sum(), second)


def test_a_forward_after_the_reference_still_has_gradients_under_autocast(loader, fit, flat, sgd):
    start = CausalLM("tiny://llama", Full(), sgd)
    start.configure_model()
    module = CausalLM("tiny://llama", Full(), sgd, [Second()])
    L.seed_everything(0, verbose=False)
    fit(module, loader(8), precision="bf16-mixed", max_epochs=1)
    plain = CausalLM("tiny://llama", Full(), sgd)
    fit(plain, loader(8), precision="bf16-mixed", max_epochs=1)
    assert not torch.equal(flat(module), flat(start))
    assert torch.equal(flat(module), flat(plain))  # no dropout here: the second pass is the first
