"""Two sources in one step: the loss is the token-weighted mix of each source's own, and so is the gradient."""

import functools
import json

import lightning as L
import pytest
import torch
from torch.nn import functional as F

from finelab import models
from finelab.data import Documents, MixtureDataModule
from finelab.data.loader_options import LoaderOptions
from finelab.data.mixture_specs import SourceSpec
from finelab.data.splits import Fractions
from finelab.models.adapters import Full


class Seen(L.Callback):
    """Batches, the normalised gradient of each step, and what was logged at its end."""

    def __init__(self):
        self.batches, self.gradients, self.logged = [[]], [], []

    def on_train_batch_start(self, trainer, module, batch, index):
        self.batches[-1].append(batch)

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.gradients.append({name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None})

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        if trainer.global_step == len(self.gradients) == len(self.batches):
            self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})
            self.batches.append([])


@pytest.fixture
def sources(tmp_path):
    """Stories of two lengths, so that tokens and rows weigh differently."""
    found = {}
    for name, count, words in (("long", 10, 30), ("short", 6, 4)):
        file = tmp_path / f"{name}.jsonl"
        rows = [{"text": f"{name} {i} " + f"{name[i % 4]}word " * (words + i)} for i in range(count)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found[name] = SourceSpec({"train": str(file)})
    return found


@pytest.fixture
def train(sources, tmp_path):
    def run(loader=LoaderOptions(bucketing=False), batch_size=4, **options):  # noqa: B008 - frozen
        data = MixtureDataModule(
            sources,
            "tiny://llama",
            Documents(),
            context=64,
            batch_size=batch_size,
            loader=loader,
            splits=Fractions(0, 0),
            cache_dir=str(tmp_path / "tokens"),
        )
        module = models.CausalLM("tiny://llama", Full(), functools.partial(torch.optim.SGD, lr=0.0))
        seen = Seen()
        settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "max_epochs": 1}
        settings |= {"enable_progress_bar": False, "enable_model_summary": False, "use_distributed_sampler": False}
        L.Trainer(default_root_dir=tmp_path, callbacks=[seen], **settings | options).fit(module, datamodule=data)
        return module, seen

    return run


def own_loss(module, batch, source):
    """Mean NLL of one source's rows, its tokens, and the gradient, by the plain model."""
    rows = batch["source_id"] == source
    labels = batch["labels"][rows]
    logits = module.model(input_ids=batch["input_ids"][rows], attention_mask=batch["attention_mask"][rows]).logits
    tokens = int((labels[:, 1:] != -100).sum())
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")
    named = dict(module.named_parameters())
    gradient = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return loss.item(), tokens, dict(zip(named, gradient, strict=True))


@pytest.mark.parametrize("micro", [1, 2])
def test_loss_and_gradient_are_the_token_weighted_mix_of_each_source_s_own(train, micro):
    module, seen = train(batch_size=8 // micro, accumulate_grad_batches=micro)
    module.eval()
    steps = list(zip(seen.batches, seen.gradients, seen.logged, strict=False))
    assert len(steps) > 2
    for batches, gradient, logged in steps:
        sums = {
            source: [own_loss(module, batch, source) for batch in batches if source in batch["source_id"]]
            for source in (0, 1)
        }
        nll = {source: sum(loss for loss, _, _ in parts) for source, parts in sums.items()}
        tokens = {source: sum(count for _, count, _ in parts) for source, parts in sums.items()}
        means = {source: nll[source] / tokens[source] for source in (0, 1)}
        whole = sum(tokens.values())
        mixed = sum(tokens[source] / whole * means[source] for source in (0, 1))
        assert tokens[0] > 2 * tokens[1] > 0, "or a row-weighted mix would pass too"
        assert logged["train/nll"] == pytest.approx(mixed, abs=1e-6)
        assert logged["train/long/nll"] == pytest.approx(means[0], abs=1e-6)
        assert logged["train/short/nll"] == pytest.approx(means[1], abs=1e-6)
        for name, found in gradient.items():
            expected = sum(g[name] / whole for parts in sums.values() for _, _, g in parts)
            assert torch.allclose(found, expected, rtol=0, atol=1e-6), name


@pytest.mark.parametrize("loader", ["padded", "packed"])
def test_what_each_source_gave_is_counted(train, loader):
    module, seen = train(LoaderOptions(bucketing=False, packing=loader == "packed"), batch_size=2)
    rows = {0: 0, 1: 0}
    for batches in seen.batches:
        for batch in batches:
            for source in batch["source_id"].tolist():
                rows[source] += 1
    assert {name: own.rows for name, own in module.consumed.items()} == {"long": rows[0], "short": rows[1]}
    assert sum(own.tokens for own in module.consumed.values()) == module.supervised_tokens
    weighted = sum(own.nll for own in module.consumed.values()) / module.supervised_tokens
    assert weighted == pytest.approx(seen.logged[-1]["train/nll"], rel=0.2)


def test_a_single_source_logs_nothing_twice(train, sources):
    del sources["short"]
    module, seen = train()
    assert module.consumed == {}
    assert not any(name.endswith("/nll") and name != "train/nll" for name in seen.logged[0])
