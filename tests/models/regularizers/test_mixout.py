"""Mixout against its closed form: mean, variance, both ends, the derivative, and LoRA's mask."""

import copy

import lightning as L
import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, VeraConfig
from torch import nn
from torch.nn import functional as F
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from finelab.contracts.errors import UserError
from finelab.contracts.uri import resolve
from finelab.data.collate import PadCollator
from finelab.models import CausalLM, Seq2SeqLM, SequenceClassifier
from finelab.models.adapters import BitFit, Bottleneck, Full, LinearProbe, TopLayers
from finelab.models.backbone import Loading
from finelab.models.gradients import seed_forward
from finelab.models.regularizers import Mixout, RDrop

from .. import made_up_targets as made
from .perturbed import CPU, built, forward, texts


def lora(**options):
    return LoraConfig(**{"r": 4, "target_modules": "all-linear"} | options)


def moved(module, by=0.1):
    """Every trainable weight away from where it started."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            if p.requires_grad:
                p.add_(by * torch.randn_like(p))
    return module


def layer_and_start(sgd, p):
    """A linear layer of a fully tuned model, its pretrained weight, and a function that gives w~ of a seed."""
    module = CausalLM("tiny://llama", Full(), sgd, [Mixout(p)])
    module.configure_model()
    layer = module.model.model.layers[0].mlp.down_proj
    start = layer.weight.detach().clone()
    moved(module).train()

    def mixed(seed):
        seed_forward(seed, CPU)
        return layer(torch.eye(layer.in_features)).T

    return layer, start, mixed


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_mean_and_variance(sgd, p):
    """E = w and Var = p / (1 - p) (w - u)^2, column by column, over 2000 forwards within five standard errors."""
    layer, start, mixed = layer_and_start(sgd, p)
    forwards, difference = 2000, layer.weight.detach() - start
    with torch.no_grad():
        draws = torch.stack([(mixed(seed) - layer.weight) / difference for seed in range(forwards)])
    columns = draws.median(1).values  # one mask for all outputs; the median leaves out rounding of small differences
    assert (draws - columns[:, None]).abs().median() < 1e-3
    variance = p / (1 - p)
    assert columns.mean(0).abs().max() < 5 * (variance / forwards) ** 0.5
    fourth = p**4 / (1 - p) ** 3 + p  # central moment of what is p / (1 - p) or -1
    allowed = 5 * ((fourth - variance**2) / forwards) ** 0.5 + 25 * variance / forwards
    assert (columns.var(0) - variance).abs().max() < allowed


def test_each_column_is_the_start_or_stretched_from_it(sgd):
    layer, start, mixed = layer_and_start(sgd, 0.7)
    found, difference = mixed(1), layer.weight - start
    kept = ((found - start).abs().amax(0) > 1e-5).float()
    assert 0 < kept.mean() < 1
    assert (found - (start + kept * difference / 0.3)).abs().max() < 1e-5
    u, w, p = start, layer.weight, 0.7
    papers = ((1 - kept) * u + kept * w - p * u) / (1 - p)
    assert (found - papers).abs().max() < 1e-5


def test_near_one_nearly_every_forward_is_the_pretrained_one(sgd):
    _, start, mixed = layer_and_start(sgd, 0.9999)
    assert max((mixed(seed) - start).abs().max().item() for seed in (1, 2, 3)) < 1e-5


def test_the_gradient_is_masked_and_divided_by_the_keep_rate(sgd):
    layer, start, mixed = layer_and_start(sgd, 0.6)
    found = mixed(1)
    kept = ((found - start).abs().amax(0) > 1e-5).float()
    towards = torch.randn_like(found)
    layer.weight.grad = None
    (found * towards).sum().backward()
    assert (layer.weight.grad - towards * kept / 0.4).abs().max() < 1e-5


def lora_layer(sgd, p):
    module = CausalLM("tiny://llama", lora(lora_alpha=12), sgd, [Mixout(p)])
    module.configure_model()
    return moved(module).train().model.base_model.model.model.layers[0].self_attn.q_proj


def test_on_lora_it_is_the_base_and_a_mask_of_the_updates_columns(sgd):
    layer = lora_layer(sgd, 0.6)
    base, update = layer.base_layer.weight, layer.get_delta_weight("default")
    seed_forward(1, CPU)
    found = layer(torch.eye(layer.in_features)).T
    kept = ((found - base).abs().amax(0) > 1e-6).float()
    assert 0 < kept.mean() < 1
    assert (found - (base + kept * update / 0.4)).abs().max() < 1e-6
    assert update.abs().max() > 1e-2


def test_all_rows_of_a_forward_meet_one_mask_and_layers_their_own(sgd):
    layer, _, mixed = layer_and_start(sgd, 0.5)
    seed_forward(1, CPU)
    same = layer(torch.ones(3, 5, layer.in_features))
    assert (same - same[0, 0]).abs().max() < 1e-6
    assert torch.equal(mixed(1), mixed(1))
    assert not torch.equal(mixed(1), mixed(2))
    method = Mixout(0.5)
    masks = {name: method.mask(name, 64, CPU) for name in ("a", "b")}
    assert not torch.equal(masks["a"], masks["b"])


def test_names_shared_weights_and_copies_stay_as_they_are(sgd):
    plain = CausalLM("tiny://llama", Full(), sgd)
    plain.configure_model()
    module = CausalLM("tiny://llama", Full(), sgd, [Mixout(0.5)])
    module.configure_model()
    assert list(module.state_dict()) == list(plain.state_dict())
    assert [n for n, _ in module.named_modules()] == [n for n, _ in plain.named_modules()]
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), plain.parameters(), strict=True))
    twin = copy.deepcopy(module.model)
    moved(twin, 1.0).train()
    layer, other = module.model.model.layers[0].mlp.up_proj, twin.model.layers[0].mlp.up_proj
    seed_forward(1, CPU)
    first, second = layer(torch.eye(32)), other(torch.eye(32))
    assert (first - second).abs().max() > 0.1, "a copy of the model computes with its own weights"


def test_a_weight_that_the_embedding_shares_is_mixed_where_it_is_linear(sgd):
    module = Seq2SeqLM("tiny://t5", Full(), sgd, [Mixout(0.5)])
    module.configure_model()
    assert module.model.lm_head.weight is module.model.shared.weight
    start = module.model.shared.weight.detach().clone()
    moved(module).train()
    seed_forward(1, CPU)
    found = module.model.lm_head(torch.eye(32)).T
    weight = module.model.shared.weight
    kept = ((found - start).abs().amax(0) > 1e-5).float()
    assert (found - (start + kept * (weight - start) / 0.5)).abs().max() < 1e-5
    ids = torch.arange(10)
    assert torch.equal(module.model.encoder.embed_tokens(ids), F.embedding(ids, weight))


def test_gpt2s_layers_have_their_inputs_first(sgd, tmp_path):
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=259, n_positions=64, n_embd=32, n_layer=1, n_head=4)).save_pretrained(
        tmp_path
    )
    AutoTokenizer.from_pretrained(resolve("tiny://llama").path).save_pretrained(tmp_path)
    module = CausalLM(str(tmp_path), Full(), sgd, [Mixout(0.5)])
    module.configure_model()
    layer = module.model.transformer.h[0].mlp.c_fc
    start = layer.weight.detach().clone()
    moved(module).train()
    seed_forward(1, CPU)
    found = layer(torch.eye(32)) - layer.bias
    kept = ((found - start).abs().amax(1) > 1e-5).float()
    assert 0 < kept.mean() < 1
    assert (found - (start + kept[:, None] * (layer.weight - start) / 0.5)).abs().max() < 1e-5


def test_heads_biases_and_frozen_layers_are_left_alone(sgd):
    module = SequenceClassifier("tiny://bert", TopLayers(1), sgd, [Mixout(0.5)], labels=made.LABELS)
    module.configure_model()
    mixed = {name for name, layer in module.model.named_modules() if "forward" in vars(layer)}
    trained = {
        name
        for name, layer in module.model.backbone.named_modules(prefix="backbone")
        if isinstance(layer, nn.Linear) and layer.weight.requires_grad
    }
    assert mixed == trained
    assert len(mixed) == 6


NOTHING = {
    "BitFit": (SequenceClassifier, "tiny://bert", BitFit()),
    "LinearProbe": (SequenceClassifier, "tiny://bert", LinearProbe()),
    "Bottleneck": (SequenceClassifier, "tiny://bert", Bottleneck()),
    "VeRA": (SequenceClassifier, "tiny://bert", VeraConfig(r=4, target_modules=["query"])),
    "prompt": (CausalLM, "tiny://llama", PromptTuningConfig(num_virtual_tokens=4)),
    "embedding": (CausalLM, "tiny://llama", lora(target_modules=["embed_tokens"])),
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_to_mix_is_refused(sgd, name):
    target, base, adapter = NOTHING[name]
    options = {"labels": made.LABELS} if target is SequenceClassifier else {}
    with pytest.raises(UserError, match="nothing that trains"):
        target(base, adapter, sgd, [Mixout(0.5)], **options).configure_model()


@pytest.mark.parametrize(
    "options",
    [{"init_lora_weights": "pissa"}, {"init_lora_weights": "olora"}, {"init_lora_weights": False}, {"use_dora": True}],
    ids=["pissa", "olora", "random", "dora"],
)
def test_lora_that_is_no_difference_to_the_base_is_refused(sgd, options):
    with pytest.raises(UserError, match=r"init_lora_weights: true"):
        CausalLM("tiny://llama", lora(**options), sgd, [Mixout(0.5)]).configure_model()


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_p_is_a_probability_below_one(p):
    with pytest.raises(UserError, match=rf"Mixout\(p={p}\)"):
        Mixout(p)


@pytest.mark.parametrize("adapter", [Full(), lora()], ids=["full", "lora"])
def test_zero_is_the_baseline_and_its_short_cut_is_only_one(loader, sgd, fit, flat, adapter):
    weights = []
    for method, p in ((None, 0.0), (Mixout(0.0), 0.0), (Mixout(0.5), 0.0), (Mixout(0.5), 0.5)):
        module = SequenceClassifier("tiny://bert", adapter, sgd, [method] if method else [], labels=made.LABELS)
        module.configure_model()
        for regularizer in module.regularizers:
            regularizer.p = p
        fit(module, loader(2, classes=3), max_epochs=2)
        weights.append(flat(module))
    assert torch.equal(weights[0], weights[1])
    assert (weights[0] - weights[2]).abs().max() < 1e-6
    assert (weights[0] - weights[3]).abs().max() > 1e-4


@pytest.mark.parametrize("adapter", [Full(), lora()], ids=["full", "lora"])
def test_activation_checkpointing_sees_the_same_masks(loader, sgd, fit, flat, adapter):
    weights = []
    for recompute in (False, True):
        loading = Loading(gradient_checkpointing=recompute)
        module = CausalLM("tiny://llama", adapter, sgd, [Mixout(0.5)], loading=loading)
        fit(module, loader(4), max_epochs=2)
        weights.append(flat(module))
    assert (weights[0] - weights[1]).abs().max() < 1e-6


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
def test_a_second_forward_has_other_masks_and_the_first_keeps_its_own(loader, sgd, fit, recompute):
    """Also where the first forward's activations are recomputed after the second one has run."""
    methods = [Mixout(0.5), RDrop(1.0)]
    adapter, loading = lora(lora_dropout=0.1), Loading(gradient_checkpointing=recompute)
    module = CausalLM("tiny://llama", adapter, sgd, methods, loading=loading)
    module.configure_model()
    method, masks, name = module.regularizers[0], [], "model.layers.0.self_attn.q_proj"
    mask = method.mask

    def keep(at, features, device):
        found = mask(at, features, device)
        if at == name:
            masks.append(found)
        return found

    method.mask = keep
    fit(module, loader(8), max_epochs=1)
    assert len(masks) == (4 if recompute else 2)
    assert not torch.equal(masks[0], masks[1])
    if recompute:
        assert any(torch.equal(masks[2], m) for m in masks[:2])
        assert any(torch.equal(masks[3], m) for m in masks[:2])
        assert not torch.equal(masks[2], masks[3])


@pytest.mark.parametrize("kind", made.KINDS)
def test_more_pads_change_nothing_and_eval_mixes_nothing(sgd, kind):
    module = made.model(kind, sgd, Full(), regularizers=[Mixout(0.5)])
    built(module, dropout=False)
    moved(module)
    narrow, wide = (forward(module, next(iter(made.loader(kind, 4, more=more))))[0].logits for more in (0, 3))
    assert (narrow - wide).abs().max() < 1e-5
    plain = made.model(kind, sgd, Full())
    built(plain, dropout=False).load_state_dict(module.state_dict())
    (batch,) = made.loader(kind, 8)
    assert torch.equal(module.eval().supervised(batch)[0].logits, plain.eval().supervised(batch)[0].logits)
    assert not torch.equal(forward(module.train(), batch)[0].logits, forward(plain.train(), batch)[0].logits)


def test_weights_in_bf16_are_mixed_in_float32_and_autocast_runs(loader, sgd, fit, flat):
    module = CausalLM("tiny://llama", Full(), sgd, [Mixout(0.5)], loading=Loading(dtype="bfloat16"))
    module.configure_model()
    layer = module.model.model.layers[0].mlp.up_proj
    assert layer(torch.ones(1, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16
    module = CausalLM("tiny://llama", Full(), sgd, [Mixout(0.5)])
    fit(module, loader(4), max_epochs=1, precision="bf16-mixed")
    assert flat(module).isfinite().all()
    assert forward(built(module), PadCollator(0)(texts([8])))[0].logits.isfinite().all()


@pytest.mark.parametrize("adapter", [Full(), lora()], ids=["full", "lora"])
def test_a_resumed_run_mixes_with_the_pretrained_weights_and_not_with_the_restored_ones(
    loader, sgd, flat, tmp_path, adapter
):
    def tuned(epochs, **options):
        module = CausalLM("tiny://llama", adapter, sgd, [Mixout(0.5)])
        trainer = L.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
        )
        trainer.fit(module, loader(4), **options)
        return module, trainer

    straight, _ = tuned(3)
    _, trainer = tuned(2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = tuned(3, ckpt_path=tmp_path / "half.ckpt")
    assert (flat(straight) - flat(resumed)).abs().max() < 1e-6
