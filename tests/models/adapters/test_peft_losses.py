"""The losses that PEFT computes and leaves to the user: brought by the adapter, equal to PEFT's own."""

import functools

import pytest
import torch
from peft import KasaConfig, LoraConfig, MontecloraConfig, ShadowConfig
from torch.nn import functional as F

from finelab.contracts.batch import IGNORE
from finelab.models import CausalLM
from finelab.models.adapters.kasa import Kasa
from finelab.models.backbone import Loading

KASA = {"kasa_config": KasaConfig(beta=0.2, gamma=0.3)}
MONTE = {"monteclora_config": MontecloraConfig(num_samples=3, kl_loss_weight=0.1, use_entropy=True, buffer_size=4)}
ADAM = functools.partial(torch.optim.AdamW, lr=1e-2)


def lora(**options):
    return CausalLM("tiny://llama", LoraConfig(r=4, target_modules="all-linear", **options), ADAM)


def shaken(module):
    """Built, with every trainable weight moved."""
    module.configure_model()
    with torch.no_grad():
        for p in module.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
    return module


class Weightless(torch.optim.SGD):
    """Moves nothing, so that the first step's gradient can be looked at."""

    def step(self, closure=None):
        return closure()


def gradient(module, loader, fit, micro, **options):
    module.make_optimizer = functools.partial(Weightless, lr=0.0)
    fit(module, loader(micro), max_epochs=1, accumulate_grad_batches=8 // micro, **options)
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_kasa_is_pefts_definition():
    module = shaken(lora(**KASA))
    [term] = module.regularizers
    assert term.parameter_term().addition.item() == pytest.approx(module.model.base_model._get_kasa_loss().item())
    assert Kasa(0.0, 0.0).parameter_term() is None


def test_kasa_in_closed_form():
    """Orthonormal factors and unit singular values: beta times the number of them."""
    module = lora(**KASA)
    module.configure_model()
    [term] = module.regularizers
    with torch.no_grad():
        for a, diagonal, b in term.factors:
            for wide in (a, b.T):
                wide.copy_(torch.linalg.qr(torch.randn_like(wide).T)[0].T)
            diagonal.fill_(1.0)
    assert term.parameter_term().addition.item() == pytest.approx(0.2 * 4 * len(term.factors), rel=1e-4)


def test_kasa_reaches_the_gradient_once_a_step(loader, fit):
    with_terms = gradient(lora(**KASA), loader, fit, 8)
    in_parts = gradient(lora(**KASA), loader, fit, 2)
    plain = lora(**KASA)
    plain.adapter.regularizers = list
    without = gradient(plain, loader, fit, 8)
    plain.model.base_model._get_kasa_loss().backward()
    for name, p in plain.named_parameters():
        if name in with_terms:
            assert torch.allclose(p.grad, with_terms[name], atol=1e-6)
            assert torch.allclose(in_parts[name], with_terms[name], atol=1e-6)
    assert any(not torch.allclose(without[name], with_terms[name], atol=1e-4) for name in without)


def test_monteclora_is_pefts_definition_as_a_mean_over_the_step(loader, fit):
    """The whole loss of a batch, computed by hand from the same draws."""
    module = lora(**MONTE)
    found = gradient(module, loader, fit, 8)
    other = lora(**MONTE)
    other.adapter.regularizers = list
    own = gradient(other, loader, fit, 8)
    assert any(not torch.allclose(own[name], found[name], atol=1e-5) for name in own if "prior" in name)
    value = module.trainer.callback_metrics["reg/Monteclora"]
    total, nll = (module.trainer.callback_metrics[name] for name in ("train/loss", "train/nll"))
    assert (total - nll).item() == pytest.approx(value.item(), rel=1e-4)
    assert value > 0.1  # the entropy's part alone is at least 1/3


def test_monteclora_draws_with_the_forward():
    """The same seed gives the same noise again, and the next forward another one; PEFT's buffers count on."""
    module = lora(**MONTE).train()
    module.configure_model()
    with torch.no_grad():
        for p in module.parameters():
            if p.requires_grad:
                p.add_(0.1)
    ids = torch.arange(10)[None]

    def logits(seed):
        torch.manual_seed(seed)
        return module.model(input_ids=ids).logits

    first, second = logits(5), logits(6)
    assert torch.equal(first, logits(5))
    assert not torch.equal(first, second)
    module.eval()
    assert torch.equal(logits(5), logits(6))


@pytest.mark.parametrize("options", [KASA, MONTE], ids=["kasa", "monteclora"])
def test_recomputed_activations_change_nothing(loader, fit, options):
    found = []
    for recompute in (False, True):
        config = LoraConfig(r=4, target_modules="all-linear", **options)
        module = CausalLM("tiny://llama", config, ADAM, loading=Loading(gradient_checkpointing=recompute))
        found.append(gradient(module, loader, fit, 4))
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])


def shadow(**options):
    return CausalLM("tiny://llama", ShadowConfig(r=4, shadow_dropout=0.0, **options), ADAM)


def test_shadow_is_what_peft_adds_to_a_loss(loader, fit):
    module = shadow(auxiliary_loss_weight=0.7)
    fit(module, loader(8), max_epochs=1)
    start = shadow(auxiliary_loss_weight=0.7)
    start.configure_model()
    batch = next(iter(loader(8)))
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "labels")}
    whole = start.model(**inputs).loss
    seen, logged = start.model.base_model.last_shadow_loss, module.trainer.callback_metrics
    assert logged["reg/ShadowLoss"].item() == pytest.approx(seen.item(), rel=1e-4)
    assert logged["train/loss"].item() == pytest.approx(whole.item(), rel=1e-4)


def test_shadow_is_summed_over_supervised_tokens(loader, fit):
    whole, parts = (gradient(shadow(), loader, fit, micro) for micro in (8, 2))
    assert all(torch.allclose(whole[name], parts[name], atol=1e-6) for name in whole)
    off = shadow(auxiliary_loss_weight=0.0)
    off.configure_model()
    [term] = off.regularizers
    assert term.token_term(None) is None


def test_shadow_by_hand(loader):
    """The vocabulary layer on the shadow's first state predicts the next token, where there is a label for it."""
    module = shaken(shadow(auxiliary_loss_weight=1.0))
    batch = next(iter(loader(4)))
    [term] = module.regularizers
    term.before_forward(batch)
    module.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    logits = module.model.get_output_embeddings()(module.model.base_model._seed_shadow_state)[:, :-1]
    labels = batch["labels"][:, 1:]
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="sum")

    class Step:
        likelihood, targets = module.likelihood, labels[labels != IGNORE]

    assert term.token_term(Step).addition.item() == pytest.approx(expected.item(), rel=1e-5)
