"""Inits of LoRA that look at training rows or take a part of the weight: what they find, and what a folder says."""

import copy

import lightning as L
import numpy as np
import pytest
import torch
from peft import EvaConfig, LoraConfig, LoraGAConfig, PeftModel
from peft.tuners.lora.config import CordaConfig

from finelab.callbacks import OrderDigest
from finelab.contracts.batch import IGNORE
from finelab.contracts.errors import UserError
from finelab.models import CausalLM, MultipleChoice, Seq2SeqLM, SequenceClassifier, TokenClassifier
from finelab.models.adapters import Full
from finelab.models.adapters.lora_data import padded_together
from finelab.models.backbone import Loading, load
from finelab.models.regularizers import KLToBase

from .. import made_up_targets

R = 4
LAYERS = ["q_proj", "v_proj", "down_proj"]


def lora(init=True, **options):
    return LoraConfig(**{"r": R, "lora_alpha": 6, "target_modules": LAYERS, "init_lora_weights": init} | options)


DATA = {
    "eva": lambda **o: lora("eva", **{"eva_config": EvaConfig(rho=2.0)} | o),
    "corda_ipm": lambda **o: lora("corda", corda_config=CordaConfig(corda_method="ipm"), **o),
    "corda_kpm": lambda **o: lora("corda", corda_config=CordaConfig(corda_method="kpm"), **o),
    "lora_ga": lambda **o: lora(True, lora_ga_config=LoraGAConfig(), **o),
}
RESIDUAL = {
    "pissa": lambda **o: lora("pissa", **o),
    "pissa_niter_2": lambda **o: lora("pissa_niter_2", **o),
    "olora": lambda **o: lora("olora", **o),
    "pissa_embedding": lambda **o: lora("pissa", **{"target_modules": [*LAYERS, "embed_tokens"]} | o),
    **{name: make for name, make in DATA.items() if name != "eva"},
}
every_data = pytest.mark.parametrize("name", DATA)
every_residual = pytest.mark.parametrize("name", RESIDUAL)


class Rows(L.LightningDataModule):
    """Training rows that can be read apart from the training stream, in shuffled batches."""

    def __init__(self, loader):
        super().__init__()
        self.loader = loader

    def train_dataloader(self):
        own = torch.Generator().manual_seed(3)
        return torch.utils.data.DataLoader(
            self.loader.dataset, 4, shuffle=True, collate_fn=self.loader.collate_fn, generator=own
        )

    def evaluation_loader(self, split):
        return self.loader if split == "train" else None


@pytest.fixture
def train(sgd, loader):
    """A short fit on tiny://llama, whose model is built by the trainer."""

    def run(config, steps=3, callbacks=(), **options):
        module = CausalLM("tiny://llama", config, sgd, **options)
        settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "max_steps": steps}
        settings |= {"enable_progress_bar": False, "enable_model_summary": False, "callbacks": list(callbacks)}
        L.Trainer(**settings).fit(module, datamodule=Rows(loader(4, rows=16)))
        return module

    return run


@pytest.fixture
def batch(loader):
    return next(iter(loader(8)))


def built(module):
    module.configure_model()
    return module.eval()


def logits(module, batch):
    with torch.no_grad():
        return module.eval()(batch).logits


def layer(module, name="layers.0.self_attn.q_proj"):
    return next(part for key, part in module.model.named_modules() if key.endswith(name))


def singles(loader):
    """Each training row alone, without pads."""
    return loader(1, rows=16)


# ---- what they find


@pytest.mark.parametrize("name", [*RESIDUAL, "eva"])
def test_step_0_is_the_base(train, batch, sgd, name):
    """Within rounding where a weight is the sum of two; bit for bit where B starts at zero."""
    start = logits(train((RESIDUAL | DATA)[name](), steps=0), batch)
    base = logits(built(CausalLM("tiny://llama", Full(), sgd)), batch)
    assert torch.equal(start, base) if name == "eva" else (start - base).abs().max() < 1e-6


def inputs_of(module, name, loader):
    """What one layer of the base reads of the supervised and of all positions."""
    read = []
    handle = layer(module, name).register_forward_pre_hook(lambda _, inputs: read.append(inputs[0][0].detach()))
    with torch.no_grad():
        marks = [(row["labels"][0] != IGNORE, module(row)) for row in singles(loader)]
    handle.remove()
    return torch.cat([x[mark] for x, (mark, _) in zip(read, marks, strict=True)]), read


def test_eva_starts_from_the_principal_directions_of_what_a_layer_reads(train, loader, sgd):
    module = train(DATA["eva"](eva_config=EvaConfig(rho=1.0)), steps=0)
    read, _ = inputs_of(built(CausalLM("tiny://llama", Full(), sgd)), "layers.0.self_attn.q_proj", loader)
    own = layer(module).lora_A["default"].weight.detach()
    _, _, directions = torch.linalg.svd(read - read.mean(0), full_matrices=False)
    centred = read - read.mean(0)
    caught, most = ((centred @ axes.T).square().sum() for axes in (own, directions[:R]))
    assert (own @ own.T - torch.eye(R)).abs().max() < 1e-4
    assert caught > 0.9 * most > 1.5 * R / 32 * centred.square().sum()  # beyond what random directions catch
    assert not layer(module).lora_B["default"].weight.any()


@pytest.mark.parametrize("method", ["ipm", "kpm"])
def test_corda_takes_the_components_that_the_inputs_excite(train, loader, sgd, method):
    module = train(DATA[f"corda_{method}"](), steps=0)
    untouched = built(CausalLM("tiny://llama", Full(), sgd))
    _, read = inputs_of(untouched, "layers.0.self_attn.q_proj", loader)
    scaled = [x / x.max().abs() for x in read]
    covariance = torch.stack([x.T @ x for x in scaled]).mean(0)
    covariance = covariance + 0.01 * covariance.diagonal().mean() * torch.eye(len(covariance))
    weight = layer(untouched).weight.detach()
    u, s, vh = torch.linalg.svd(weight @ covariance, full_matrices=False)
    take = slice(0, R) if method == "ipm" else slice(len(s) - R, len(s))
    expected = u[:, take] @ torch.diag(s[take]) @ vh[take] @ torch.linalg.inv(covariance)
    own = layer(module)
    product = own.scaling["default"] * own.lora_B["default"].weight @ own.lora_A["default"].weight
    assert (product - expected).norm() / expected.norm() < 1e-3
    assert (own.base_layer.weight + product - weight).abs().max() < 1e-6


def test_lora_ga_starts_along_the_gradient_of_the_mean_loss(train, loader, sgd):
    module = train(DATA["lora_ga"](), steps=0)
    untouched = CausalLM("tiny://llama", Full(), sgd)
    built(untouched)
    total, positions = 0.0, 0
    for row in singles(loader):
        outputs, targets, _ = untouched.supervised(row)
        total, positions = total + untouched.likelihood.nll(outputs.logits, targets).sum(), positions + len(targets)
    weight = layer(untouched).weight
    gradient = torch.autograd.grad(total / positions, weight)[0]
    _, s, vh = torch.linalg.svd(gradient)
    own = layer(module)
    a, b = own.lora_A["default"].weight.detach(), own.lora_B["default"].weight.detach()
    assert torch.linalg.svdvals(a @ vh[:R].T).min() > 0.99
    expected = len(weight) ** 0.25 / 16**0.5 * s[R : 2 * R]
    assert torch.linalg.svdvals(b)[:R] == pytest.approx(expected, rel=0.05)
    assert (own.base_layer.weight + own.scaling["default"] * b @ a - weight).abs().max() < 1e-6


# ---- a folder says it all


@every_residual
def test_a_folder_of_a_residual_init_fits_the_original_base(tmp_path, train, batch, sgd, name):
    """Read back here, by PEFT alone, and by a model whose own start is another."""
    module = train(RESIDUAL[name]())
    tuned = logits(module, batch)
    module.save_folder(tmp_path)
    again = built(CausalLM("tiny://llama", RESIDUAL[name](), sgd))
    again.load_folder(tmp_path)
    assert torch.equal(logits(again, batch), tuned)
    for key, parameter in again.named_parameters():
        assert torch.equal(parameter, dict(module.named_parameters())[key]), key
    base = logits(built(CausalLM("tiny://llama", Full(), sgd)), batch)
    other = built(CausalLM("tiny://llama", RESIDUAL[name](), sgd, [KLToBase(0.1)], seeds=9))
    other.load_folder(tmp_path)
    for reader in (again, other):
        reader.keep_start()
        with reader.as_base():
            assert (logits(reader, batch) - base).abs().max() < 1e-6
    assert (logits(other, batch) - tuned).abs().max() < 1e-6
    plain = built(CausalLM("tiny://llama", Full(), sgd))
    plain.model = plain.build(PeftModel.from_pretrained(load("tiny://llama", "causal_lm", Loading()).model, tmp_path))
    assert (logits(plain, batch) - tuned).abs().max() < 1e-6
    assert (tuned - base).abs().max() > 1e-3


@pytest.mark.parametrize(
    "options", [{"use_rslora": True}, {"rank_pattern": {"v_proj": 2}}, {"use_dora": True}], ids=str
)
@pytest.mark.parametrize("name", ["pissa_niter_2", "corda_ipm"])
def test_twice_the_rank_says_the_same_with_every_scale(tmp_path, train, batch, sgd, name, options):
    config = RESIDUAL[name](**options, alpha_pattern={"down_proj": 5})
    module = train(config)
    module.save_folder(tmp_path)
    tuned = logits(module, batch)
    again = built(CausalLM("tiny://llama", copy.deepcopy(config), sgd))
    again.load_folder(tmp_path)
    assert (logits(again, batch) - tuned).abs().max() < 1e-6
    plain = built(CausalLM("tiny://llama", Full(), sgd))
    plain.model = plain.build(PeftModel.from_pretrained(load("tiny://llama", "causal_lm", Loading()).model, tmp_path))
    assert (logits(plain, batch) - tuned).abs().max() < 2e-6


def test_a_folder_brings_evas_ranks(tmp_path, train, batch, sgd):
    module = train(DATA["eva"](r=3))
    ranks = {
        key: part.r["default"]
        for key, part in module.model.named_modules()
        if key.endswith(tuple(LAYERS))
        if hasattr(part, "lora_A")
    }
    assert len(set(ranks.values())) > 1, "this test wants ranks that were shared out unevenly"
    module.save_folder(tmp_path)
    tuned = logits(module, batch)
    again = built(CausalLM("tiny://llama", DATA["eva"](r=3), sgd, seeds=9))
    again.load_folder(tmp_path)
    assert torch.equal(logits(again, batch), tuned)
    plain = built(CausalLM("tiny://llama", Full(), sgd))
    plain.model = plain.build(PeftModel.from_pretrained(load("tiny://llama", "causal_lm", Loading()).model, tmp_path))
    assert torch.equal(logits(plain, batch), tuned)


# ---- the pass leaves no trace


class Draws(L.Callback):
    """What dropout would draw in each step, and what the three generators are at at the start of training."""

    def __init__(self):
        self.seen = []

    def on_train_start(self, trainer, module):
        self.seen.append((torch.random.get_rng_state().tolist(), np.random.get_state()[1].tolist()))

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.seen.append(batch["sample_id"].tolist())

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.seen.append(torch.random.get_rng_state().tolist())


@every_data
def test_the_pass_shifts_no_draw(train, name):
    """The order of the rows, the dropout masks and every generator are those of a run without a pass."""
    found = []
    for config in (lora(lora_dropout=0.3), DATA[name](lora_dropout=0.3)):
        draws, digest = Draws(), OrderDigest()
        L.seed_everything(5, verbose=False)
        train(config, callbacks=[draws, digest])
        found.append((draws.seen, digest.digest))
    assert found[0] == found[1]


@every_data
def test_the_same_seeds_start_alike_and_the_train_seed_says_nothing(train, flat, name):
    one, other = (flat(train(DATA[name](), steps=0, seeds=seeds)) for seeds in (1, {"data": 1, "init": 1, "train": 2}))
    assert torch.equal(one, other)


# ---- where they cannot


@every_data
def test_a_model_that_was_built_without_rows_is_not_trained(sgd, fit, loader, name):
    module = CausalLM("tiny://llama", DATA[name](), sgd)
    module.configure_model()
    with pytest.raises(UserError, match="learns from training rows"):
        fit(module, loader(4), max_epochs=1)


def test_rows_that_cannot_be_read_apart_are_refused(sgd, fit, loader):
    with pytest.raises(UserError, match="PeftLora looks at training rows"):
        fit(CausalLM("tiny://llama", DATA["eva"](), sgd), iter(loader(4)), max_steps=1, max_epochs=-1)


TARGETS = {
    "class": (SequenceClassifier, "tiny://bert", {"labels": ["a", "b", "c"]}, ["query", "value"]),
    "tokens": (TokenClassifier, "tiny://bert", {"labels": ["O", "B-X", "I-X", "B-Y", "I-Y"]}, ["query", "value"]),
    "choice": (MultipleChoice, "tiny://bert", {}, ["query", "value"]),
    "seq2seq": (Seq2SeqLM, "tiny://t5", {}, ["q", "v"]),
}
UNFIT = {("seq2seq", "eva"): "an encoder-decoder has two", ("choice", "corda_ipm"): "corda", ("choice", "eva"): "eva"}


@pytest.mark.parametrize("name", ["eva", "corda_ipm", "lora_ga"])
@pytest.mark.parametrize("kind", TARGETS)
def test_every_target_has_its_pass_or_a_reason(tmp_path, sgd, kind, name):
    target, base, options, layers = TARGETS[kind]
    data = Rows(made_up_targets.loader(kind, 4, rows=16))

    def make(**more):
        return target(base, DATA[name](target_modules=layers), sgd, **options, **more)

    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "max_steps": 2}
    trainer = L.Trainer(**settings, enable_progress_bar=False, enable_model_summary=False)
    if reason := UNFIT.get((kind, name)):
        with pytest.raises(UserError, match=reason):
            trainer.fit(make(), datamodule=data)
        return
    module = make()
    trainer.fit(module, datamodule=data)
    sample = next(iter(made_up_targets.loader(kind, 8)))
    module.save_folder(tmp_path)
    again = built(make(seeds=9))
    again.load_folder(tmp_path)
    assert torch.equal(logits(again, sample), logits(module, sample))


def test_eva_wants_as_many_positions_as_directions():
    rows = [{"input_ids": torch.ones(1, 3, dtype=torch.long), "labels": torch.tensor([[IGNORE, 1, 1]])}] * 4
    assert [x["input_ids"].shape for x in padded_together(rows, 3, True)] == [(2, 3), (2, 3)]
    assert [len(x["labels"]) for x in padded_together(rows, 3, False)] == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="8 positions, and r"):
        padded_together(rows, 9, True)
