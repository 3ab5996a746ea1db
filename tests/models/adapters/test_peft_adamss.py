"""AdaMSS with adaptive subspaces: they are frozen during a fit, stay as they were, and a resumed fit goes on."""

import functools

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from peft import AdamssConfig

from finelab.contracts.errors import UserError
from finelab.models import CausalLM
from finelab.models.adapters.peft_adamss import SubspaceAllocation

STEPS, TARGET = 12, 5
OPTIONS = {"max_epochs": -1, "max_steps": STEPS, "accelerator": "cpu", "logger": False}


def module(**options):
    schedule = {
        "use_asa": True,
        "init_warmup": 2,
        "final_warmup": 9,
        "mask_interval": 3,
        "asa_target_subspaces": TARGET,
    }
    targets = ["q_proj", "v_proj", "up_proj"]
    config = AdamssConfig(r=8, num_subspaces=2, target_modules=targets, **{"use_asa": True} | schedule | options)
    return CausalLM("tiny://llama", config, functools.partial(torch.optim.AdamW, lr=1e-2))


def allocation(trainer):
    return next(c for c in trainer.callbacks if isinstance(c, SubspaceAllocation))


class Frozen(L.Callback):
    """How many subspaces are frozen before each step."""

    def __init__(self):
        self.counts = []

    def on_train_batch_start(self, trainer, pl_module, *_):
        self.counts.append(len(allocation(trainer).frozen) // 2)


def test_subspaces_are_given_up_down_to_the_target(loader, fit, flat):
    tuner, seen = module(), Frozen()
    tuner.configure_model()
    subspaces = sum("adamss_A" in name for name, p in tuner.named_parameters() if p.requires_grad)
    trainer = fit(tuner, loader(4), callbacks=[seen], max_epochs=-1, max_steps=STEPS)
    assert seen.counts[:3] == [0, 0, 0]
    assert seen.counts == sorted(seen.counts)
    assert seen.counts[-1] == subspaces - (TARGET - 1)  # PEFT keeps what is above the threshold
    assert all(p.requires_grad for name, p in tuner.named_parameters() if "adamss_A" in name)
    at_the_end = allocation(trainer).frozen
    held = {name: p for name, p in allocation(trainer).tuner.named_parameters() if name in at_the_end}
    assert all(torch.equal(p, at_the_end[name]) for name, p in held.items())


def test_a_resumed_fit_is_the_same_fit(loader, flat, tmp_path):
    whole, second = module(), module()
    halfway = ModelCheckpoint(tmp_path, every_n_train_steps=STEPS // 2, save_top_k=-1, filename="{step}")
    L.Trainer(callbacks=[halfway], **OPTIONS).fit(whole, loader(4))
    again = L.Trainer(**OPTIONS, enable_checkpointing=False)
    again.fit(second, loader(4), ckpt_path=tmp_path / "step=6.ckpt")
    assert len(allocation(again).frozen) > 0
    assert (flat(second) - flat(whole)).abs().max() < 1e-6


def test_without_it_nothing_is_brought():
    assert module(use_asa=False).adapter.callbacks() == []


def test_a_schedule_longer_than_the_run_is_refused(loader, fit):
    with pytest.raises(UserError, match="final_warmup is 1000 and the run takes 4"):
        fit(module(final_warmup=1000), loader(4), max_epochs=-1, max_steps=4)
