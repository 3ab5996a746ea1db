"""Divergences from the base against an independent computation in double precision; nothing else is left changed."""

import functools

import numpy as np
import pytest
import torch
from peft import LoraConfig
from scipy.special import log_softmax, rel_entr

from finelab import models
from finelab.callbacks import beside_base
from finelab.callbacks.beside_base import divergences, feature_drift
from finelab.callbacks.evaluation import undisturbed
from finelab.models.adapters import Full


def adapters():
    return {"Full": Full(), "LoRA": LoraConfig(r=2, lora_alpha=8, lora_dropout=0.3, target_modules="all-linear")}


def language_model(adapter):
    rate = functools.partial(torch.optim.SGD, lr=2.0)
    return models.CausalLM(base="tiny://llama", adapter=adapter, optimizer=rate)


@pytest.mark.parametrize("name", ["Full", "LoRA"])
def test_both_directions_against_double_precision(name, data, fit, monkeypatch) -> None:
    module, source = language_model(adapters()[name]), data("text")
    module.configure_model()
    module.keep_start()
    trainer = fit(module, source, max_epochs=1)
    batches = list(source.loader("validation"))
    module.train()
    for p in module.parameters():
        p.grad = torch.ones_like(p) if p.requires_grad else None
    weights = {key: p.detach().clone() for key, p in module.named_parameters()}
    drawn = torch.random.get_rng_state()
    found = divergences(module, batches, trainer)
    assert torch.equal(torch.random.get_rng_state(), drawn) and module.training
    assert all(torch.equal(p, weights[key]) for key, p in module.named_parameters())
    assert all(bool((p.grad == 1).all()) for p in module.parameters() if p.requires_grad)

    base = language_model(adapters()[name])
    base.configure_model()
    sums, count = np.zeros(2), 0
    with undisturbed(module), undisturbed(base):
        for batch in batches:
            p = np.exp(log_softmax(base.score(batch).logits.double().numpy(), -1))
            q = np.exp(log_softmax(module.score(batch).logits.double().numpy(), -1))
            sums += rel_entr(p, q).sum(), rel_entr(q, p).sum()
            count += len(p)
    assert found == pytest.approx(tuple(sums / count), rel=1e-4)
    assert found[0] > 1e-3 and abs(found[0] - found[1]) > 1e-4 * found[0]  # so that a swap would show

    monkeypatch.setattr(beside_base, "HELD", 1)  # switched to for every batch
    assert divergences(module, batches, trainer) == pytest.approx(found, rel=1e-9)
    with module.as_base():
        assert divergences(module, batches, trainer) == pytest.approx((0, 0), abs=1e-6)
    assert divergences(module, [], trainer) is None


def test_drift_of_features_against_double_precision(classifier, data, fit) -> None:
    module, source = classifier(rate=0.5), data()
    trainer = fit(module, source, max_epochs=1)
    batches, fresh = list(source.loader("validation")), classifier()
    fresh.configure_model()
    total, count = 0.0, 0
    with undisturbed(module), undisturbed(fresh):
        for batch in batches:
            a, b = fresh.features(batch).double().numpy(), module.features(batch).double().numpy()
            cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
            total, count = total + (1 - cosine).sum(), count + len(a)
    drift = feature_drift(module, batches, trainer)
    assert drift == pytest.approx(total / count, rel=1e-3) and drift > 1e-6


def test_choices_that_are_not_there_do_not_count() -> None:
    base = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    tuned = torch.tensor([[0.0, 2.0], [0.0, 0.0], [3.0, 3.0]])
    tuner = language_model(Full())
    assert beside_base.cosine_distance(tuner, base, tuned).flatten().tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
