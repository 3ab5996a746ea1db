"""The promises that every kind of target keeps: pads, micro-batches, evaluation batches, ranks, checkpoints."""

import functools

import lightning as L
import pytest
import torch

from finelab.models.adapters import Full
from finelab.models.regularizers import RDrop

from .made_up_targets import KINDS, loader, lora, model

every_kind = pytest.mark.parametrize("kind", KINDS)


def built(module):
    module.configure_model()
    return module.eval()


class Keep(L.Callback):
    """Keeps the gradient of an optimizer step, without dropout."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        module.eval()

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.gradient = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@every_kind
def test_pads_change_nothing(kind, sgd):
    module = built(model(kind, sgd))
    with torch.no_grad():
        tight, wide = (module.score(next(iter(loader(kind, 8, more=more)))) for more in (0, 17))
    assert tight.rows.tolist() == wide.rows.tolist()
    assert (tight.nll - wide.nll).abs().max() < 2e-6


@every_kind
def test_gradient_of_eight_micro_batches_equals_one_batch(kind, sgd, fit):
    found = []
    for micro, accumulate in ((8, 1), (1, 8)):
        keep = Keep()
        module = model(kind, sgd, Full())
        fit(module, loader(kind, micro), callbacks=[keep], max_epochs=1, accumulate_grad_batches=accumulate)
        found.append(keep.gradient)
    assert (found[0] - found[1]).norm() / found[0].norm() < 2e-6


@every_kind
def test_evaluation_does_not_depend_on_the_batch_size(kind, sgd):
    found = []
    for size in (1, 7):
        trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
        found.append(trainer.validate(model(kind, sgd), loader(kind, size, rows=30), verbose=False)[0])
    assert found[0] == pytest.approx(found[1], rel=1e-5, abs=1e-6, nan_ok=True)
    assert f"val/{model(kind, sgd).primary[0]}" in found[0]


@every_kind
def test_a_step_learns_and_a_checkpoint_gives_equal_logits(tmp_path, kind, sgd, fit):
    module = model(kind, sgd, lora(lora_dropout=0.1), regularizers=[RDrop(1.0)])
    batch = next(iter(loader(kind, 8)))
    fit(module, loader(kind, 8), max_epochs=1)
    module.save_folder(tmp_path)
    other = built(model(kind, sgd, lora(lora_dropout=0.1), seeds=9))
    with torch.no_grad():
        before = other(batch).logits
        other.load_folder(tmp_path)
        assert not torch.equal(before, other(batch).logits)
        assert torch.equal(module.eval()(batch).logits, other(batch).logits)


@every_kind
def test_the_loss_falls(kind, fit):
    slow = functools.partial(torch.optim.SGD, lr=0.02)
    module, batch = model(kind, slow, Full()), next(iter(loader(kind, 8)))
    with torch.no_grad():
        before = built(module).score(batch).nll.mean()
        fit(module.train(), loader(kind, 8), max_epochs=5)
        assert module.eval().score(batch).nll.mean() < before


@every_kind
def test_example_columns_sum_to_the_loss(kind, sgd):
    module, batch = built(model(kind, sgd)), next(iter(loader(kind, 8)))
    with torch.no_grad():
        scored = module.score(batch)
    columns = module.example_columns(scored, batch)
    assert {len(values) for values in columns.values()} == {8}
    assert columns["sample_id"] == list(range(8))
    assert sum(columns["nll"]) == pytest.approx(scored.nll.sum().item(), rel=1e-6)
    assert sum(columns["tokens"]) == len(scored.targets)
