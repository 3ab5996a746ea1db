"""The reference forward is the untouched base, whatever the precision and whatever has been trained."""

import functools

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from peft import LoraConfig

from finelab.contracts.errors import UserError
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


def hidden(module, loader):
    with torch.no_grad():
        return module.eval()(next(iter(loader(8)))).hidden


class AsksAtTheStart(L.Callback):
    """As ``Baseline``: after a checkpoint is restored."""

    def on_train_start(self, trainer, pl_module):
        pl_module.keep_start()


@pytest.mark.parametrize("way", ["folder", "folder before fit", "checkpoint"])
def test_the_start_is_kept_before_other_weights_come(loader, fit, sgd, tmp_path, way):
    trained, module = (CausalLM("tiny://llama", Full(), sgd) for _ in range(2))
    trained.configure_model()
    base = hidden(trained, loader)
    keep = ModelCheckpoint(tmp_path / "checkpoints", filename="last")
    fit(trained.train(), loader(8), callbacks=[keep], enable_checkpointing=True, max_epochs=1)
    trained.save_folder(tmp_path / "weights")
    if way == "checkpoint":
        resumed = {"max_epochs": 2, "enable_checkpointing": False, "logger": False, "accelerator": "cpu"}
        trainer = L.Trainer(**resumed, callbacks=[AsksAtTheStart()])
        trainer.fit(module, loader(8), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    else:
        module.load_folder(tmp_path / "weights")
        module.keep_start()
    if way == "folder before fit":
        fit(module, loader(8), callbacks=[AsksAtTheStart()], max_epochs=1)
    assert not torch.equal(hidden(module, loader), base)
    with module.as_base():
        assert torch.equal(hidden(module, loader), base)


def test_a_start_that_is_gone_is_not_taken_for_one(loader, fit, sgd):
    module = CausalLM("tiny://llama", Full(), sgd)
    fit(module, loader(8), max_epochs=1)
    with pytest.raises(UserError, match="base under Full is its start, which is gone"):
        module.keep_start()


@pytest.mark.parametrize("every_step", [False, True])
def test_the_start_stays_off_the_device_unless_every_step_reads_it(sgd, every_step):
    module = CausalLM("tiny://llama", Full(), sgd, [Distance()] if every_step else [])
    module.configure_model()
    module.keep_start()
    module.to("meta")
    with module.as_base():
        assert all(p.device.type == "meta" for p in module.adapted.parameters())
    kept = {value.device.type for value in module.start.values()}
    assert kept == {"meta" if every_step else "cpu"}
