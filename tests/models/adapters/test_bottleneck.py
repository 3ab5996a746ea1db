"""Bottleneck adapters: the formula, exactly the base at the start and when off, and nothing else trains."""

import copy
import functools

import pytest
import torch
from safetensors.torch import load_file

from finelab.contracts.errors import UserError
from finelab.models import CausalLM, SequenceClassifier
from finelab.models.adapters import Bottleneck
from finelab.models.backbone import Loading

PLACEMENTS = ["houlsby", "pfeiffer", "parallel"]
PLACES = {  # n of the docstring: attentions and FFNs of two blocks (three in BART's decoder)
    "bert": {"houlsby": 4, "pfeiffer": 2, "parallel": 2},
    "llama": {"houlsby": 4, "pfeiffer": 2, "parallel": 2},
    "gpt2": {"houlsby": 4, "pfeiffer": 2, "parallel": 2},
    "t5": {"houlsby": 4 + 6, "pfeiffer": 4, "parallel": 4},
    "bart": {"houlsby": 4 + 9, "pfeiffer": 5, "parallel": 5},
}
FFNS = {
    "llama": "model.layers.1.mlp",
    "gpt2": "transformer.h.0.mlp",
    "t5": "decoder.block.1.layer.2.DenseReluDense",
    "distilbert": "transformer.layer.1.ffn",
}


def added(model):
    return [(name, module) for name, module in model.named_modules() if name.endswith(".bottleneck")]


def shaken(model):
    """Adapters that do something."""
    generator = torch.Generator().manual_seed(5)
    for _, module in added(model):
        for parameter in module.parameters():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def formula(module, x, scale, activation):
    down, up = module.down, module.up
    inner = activation(torch.einsum("...h,mh->...m", x, down.weight) + down.bias)
    return scale * (torch.einsum("...m,hm->...h", inner, up.weight) + up.bias)


@pytest.mark.parametrize("family", FFNS)
@pytest.mark.parametrize("placement", ["pfeiffer", "parallel"])
def test_the_ffn_against_the_formula(backbone, family, placement):
    """parallel: FFN(x) + s A(x); behind it: h + s A(h) with h = FFN(x)."""
    scale, x = 1.7, torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    model = shaken(Bottleneck(placement, width=6, activation="swish", scale=scale).adapt(backbone(family)))
    adapter = next(module for name, module in added(model) if name.startswith(FFNS[family]))
    with torch.no_grad():
        plain = backbone(family).get_submodule(FFNS[family])(x)
        read = x if placement == "parallel" else plain
        expected = plain + formula(adapter, read, scale, lambda z: z * torch.sigmoid(z))
        found = model.get_submodule(FFNS[family])(x)
    assert not torch.allclose(plain, expected, atol=1e-2)
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_attention_against_the_formula(backbone):
    """Houlsby behind BERT's attention: LayerNorm(h + A(h) + x), h what the attention's output layer wrote."""
    generator = torch.Generator().manual_seed(1)
    context, x = (torch.randn(2, 5, 32, generator=generator) for _ in range(2))
    model, plain = shaken(Bottleneck("houlsby", reduction=4).adapt(backbone("bert"))), backbone("bert")
    path = "encoder.layer.0.attention.output"
    own, base = model.get_submodule(path), plain.get_submodule(path)
    with torch.no_grad():
        h = base.dense(context)
        expected = base.LayerNorm(h + formula(own.dense.bottleneck, h, 1.0, torch.relu) + x)
        assert torch.allclose(own(context, x), expected, atol=1e-5)


@pytest.mark.parametrize("family", PLACES)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_it_is_the_base_at_the_start_and_when_off(backbone, run, family, placement):
    adapter, plain = Bottleneck(placement, reduction=4), backbone(family)
    model = adapter.adapt(backbone(family))
    with torch.no_grad():
        expected = run(plain)
        assert torch.equal(run(model), expected)
        shaken(model)
        changed = run(model)
        assert not torch.allclose(changed, expected, atol=1e-3)
        with adapter.off(model):
            assert torch.equal(run(model), expected)
        assert torch.equal(run(model), changed)
    assert adapter.base_is == "off"


@pytest.mark.parametrize("placement", ["houlsby", "parallel"])
def test_a_compiled_model_and_a_copy_are_the_same_function(backbone, run, placement):
    model = shaken(Bottleneck(placement).adapt(backbone("bert")))
    with torch.no_grad():
        expected = run(model)
        assert torch.equal(run(torch.compile(model, backend="aot_eager", fullgraph=True)), expected)
        other = copy.deepcopy(model)
        assert torch.equal(run(other), expected)
        for _, module in added(model):
            module.up.weight.zero_()
        assert torch.equal(run(other), expected) and not torch.equal(run(model), expected)


@pytest.mark.parametrize("family", PLACES)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_what_trains_is_the_formula(backbone, family, placement, trained_names):
    model = Bottleneck(placement, reduction=4).adapt(backbone(family))
    n, h, m = PLACES[family][placement], 32, 8
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == n * (2 * h * m + m + h)
    assert all(".bottleneck." in name for name in trained_names(model))


@pytest.mark.parametrize(("reduction", "width", "expected"), [(16, None, 2), (1000, None, 1), (16, 5, 5)])
def test_the_width_of_the_bottleneck(backbone, reduction, width, expected):
    model = Bottleneck(reduction=reduction, width=width).adapt(backbone("bert"))
    assert {module.down.out_features for _, module in added(model)} == {expected}


@pytest.mark.parametrize("family", ["mixtral", "mamba"])
def test_other_blocks_are_refused(backbone, family):
    with pytest.raises(UserError, match="cannot be told") as refusal:
        Bottleneck().adapt(backbone(family))
    assert type(backbone(family)).__name__ in str(refusal.value)


@pytest.mark.parametrize("options", [{"reduction": 0}, {"width": 0}])
def test_a_bottleneck_without_width_is_refused(options):
    with pytest.raises(UserError, match="reduction"):
        Bottleneck(**options)


def test_it_does_not_merge(backbone):
    adapter = Bottleneck()
    assert not adapter.merges
    with pytest.raises(UserError, match="cannot be merged"):
        adapter.merge(adapter.adapt(backbone("bert")))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_training_moves_the_adapters_and_the_head_alone(loader, fit, placement):
    fast = functools.partial(torch.optim.SGD, lr=1.0)
    adapter = Bottleneck(placement, activation="gelu")
    module = SequenceClassifier("tiny://bert", adapter, fast, labels=["a", "b", "c"])
    module.configure_model()
    before = copy.deepcopy(module.model).state_dict()
    fit(module, loader(4, classes=3), max_epochs=3)
    moved = {name for name, value in module.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name, p in module.model.named_parameters() if p.requires_grad}
    assert {name.partition(".")[0] for name in moved} == {"head", "backbone"}
    assert all("bottleneck" in name for name in moved if name.startswith("backbone"))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_gradient_checkpointing_changes_nothing(loader, sgd, fit, flat, placement):
    found = []
    for checkpointing in (False, True):
        loading = Loading(gradient_checkpointing=checkpointing)
        module = CausalLM("tiny://llama", Bottleneck(placement), sgd, loading=loading)
        fit(module, loader(4), max_epochs=2)
        found.append(flat(module))
    assert torch.equal(*found)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_bfloat16_weights_and_autocast(loader, sgd, fit, flat, placement):
    """The base in bfloat16 with adapters in float32, and float32 under autocast."""
    batch = next(iter(loader(8)))
    for loading, precision in ((Loading(dtype="bfloat16"), "32-true"), (Loading(), "bf16-mixed")):
        module = CausalLM("tiny://llama", Bottleneck(placement), sgd, loading=loading)
        module.configure_model()
        start = flat(module).clone()
        with torch.no_grad():
            before = module.eval().score(batch).nll.sum()
        fit(module.train(), loader(4), max_epochs=2, precision=precision)
        assert flat(module).dtype == torch.float32
        assert flat(module).isfinite().all() and not torch.equal(start, flat(module))
        with torch.no_grad(), module.adapter.off(module.adapted):
            assert torch.equal(module.eval().score(batch).nll.sum(), before)


def test_a_checkpoint_holds_the_adapters_and_gives_equal_logits(tmp_path, loader, sgd, fit):
    make = functools.partial(SequenceClassifier, "tiny://bert", optimizer=sgd, labels=["a", "b", "c"])
    module = make(adapter=Bottleneck("parallel", scale=4.0))
    fit(module, loader(4, classes=3), max_epochs=1)
    module.save_folder(tmp_path)
    other, batch = make(adapter=Bottleneck("parallel", scale=4.0), seeds=9), next(iter(loader(8, classes=3)))
    other.configure_model()
    other.load_folder(tmp_path)
    with torch.no_grad():
        assert torch.equal(module.eval()(batch).logits, other.eval()(batch).logits)
    assert {f.name for f in tmp_path.iterdir()} == {"finelab.json", "head.safetensors", "weights.safetensors"}
    assert all("bottleneck" in name for name in load_file(tmp_path / "weights.safetensors"))
    with pytest.raises(UserError, match="'scale': 4.0"):
        make(adapter=Bottleneck("parallel", scale=1.0)).load_folder(tmp_path)
