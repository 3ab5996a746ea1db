"""AdaLoRA: its term is the one that PEFT adds to a loss, its ranks come down in a fit, and a resumed fit goes on."""

import functools

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from peft import AdaLoraConfig
from peft.tuners.adalora import AdaLoraLayer

from finelab.contracts.batch import IGNORE
from finelab.contracts.errors import UserError
from finelab.models import CausalLM

INIT, TARGET, STEPS = 6, 2, 12


def module(**options):
    chosen = {"init_r": INIT, "target_r": TARGET, "tinit": 2, "tfinal": 3, "total_step": STEPS}
    config = AdaLoraConfig(target_modules="all-linear", **chosen | options)
    return CausalLM("tiny://llama", config, functools.partial(torch.optim.AdamW, lr=1e-2))


def layers(tuner):
    return [layer for layer in tuner.modules() if isinstance(layer, AdaLoraLayer)]


def ranks(tuner):
    """Of each matrix, the triplets that are not given up."""
    return [int((e != 0).sum()) for layer in layers(tuner) for e in layer.lora_E.values()]


def test_the_term_is_what_peft_adds_to_a_loss(loader):
    tuner = module(orth_reg_weight=0.3)
    tuner.configure_model()
    batch = next(iter(loader(4)))
    with torch.no_grad():
        for p in tuner.model.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "labels")}
        with_labels = tuner.model(**inputs).loss
        plain = tuner.model.base_model.model(**inputs).loss
    [term] = [r for r in tuner.regularizers if type(r).__name__ == "Orthogonality"]
    added = term.parameter_term()
    assert added.addition.item() == pytest.approx((with_labels - plain).item(), rel=1e-4)
    assert added.addition.item() == pytest.approx(0.3 * added.shown.item())


def test_orthonormal_factors_cost_nothing():
    """And three times the identity costs |9 I - I| = 8 sqrt(r): the norm is not squared."""
    tuner = module()
    tuner.configure_model()
    term = tuner.regularizers[0]
    with torch.no_grad():
        for a in term.wide + [b.T for b in term.tall]:
            a.copy_(torch.linalg.qr(torch.randn_like(a).T)[0].T)
        assert term.parameter_term().shown.item() < 1e-5
        for p in [*term.wide, *term.tall]:
            p.mul_(3.0)
        assert term.parameter_term().shown.item() == pytest.approx(8 * INIT**0.5, rel=1e-5)
    assert module(orth_reg_weight=0.0).adapter.regularizers()[0].parameter_term() is None


class Ranks(L.Callback):
    def __init__(self):
        self.sums = []

    def on_train_batch_start(self, trainer, pl_module, *_):
        self.sums.append(sum(ranks(pl_module)))


def test_ranks_come_down_to_the_target_in_a_fit(loader, fit):
    tuner, seen = module(), Ranks()
    tuner.configure_model()
    matrices = len(layers(tuner))
    fit(tuner, loader(4), callbacks=[seen], max_epochs=-1, max_steps=STEPS)
    after = [*seen.sums[1:], sum(ranks(tuner))]
    assert after[:2] == [INIT * matrices] * 2  # up to tinit
    assert after[2:] == sorted(after[2:], reverse=True)
    assert after[2] < INIT * matrices
    assert after[STEPS - 4 :] == [TARGET * matrices] * 4  # from total_step - tfinal
    assert len(set(ranks(tuner))) > 1, "the budget is shared over all matrices"


def test_a_fit_in_micro_batches_gives_up_the_same_ranks(loader, fit):
    kept = []
    for micro, parts in ((8, 1), (2, 4)):
        tuner = module()
        fit(tuner, loader(micro), max_epochs=-1, max_steps=STEPS, accumulate_grad_batches=parts)
        kept.append(ranks(tuner))
    assert kept[0] == kept[1]


def test_a_resumed_fit_is_the_same_fit(loader, flat, tmp_path):
    whole, second = module(), module()
    halfway = ModelCheckpoint(tmp_path, every_n_train_steps=STEPS // 2, save_top_k=-1, filename="{step}")
    options = {"max_epochs": -1, "max_steps": STEPS, "accelerator": "cpu", "logger": False}
    L.Trainer(callbacks=[halfway], **options).fit(whole, loader(4))
    L.Trainer(**options | {"enable_checkpointing": False}).fit(second, loader(4), ckpt_path=tmp_path / "step=6.ckpt")
    assert (flat(second) - flat(whole)).abs().max() < 1e-6


class Kept(L.Callback):
    """Saves the weights of each step, as ``BestCheckpoint`` may."""

    def __init__(self, folder, flat):
        self.folder, self.flat, self.weights = folder, flat, []

    def on_train_batch_start(self, trainer, pl_module, *_):
        pl_module.save_folder(self.folder / str(len(self.weights)))
        self.weights.append((self.flat(pl_module).clone(), ranks(pl_module)))


def test_earlier_weights_come_back_into_the_model_that_has_gone_on(loader, fit, flat, tmp_path):
    """Whatever the ranks of both: the E that are zero say which are given up."""
    tuner, kept = module(), Kept(tmp_path, flat)
    fit(tuner, loader(4), callbacks=[kept], max_epochs=-1, max_steps=STEPS)
    assert tuner.model.active_peft_config.rank_pattern
    for step in (1, 5, STEPS - 1):
        for model in (tuner, module()):
            model.load_folder(tmp_path / str(step))
            assert flat(model).equal(kept.weights[step][0])
            assert ranks(model) == kept.weights[step][1]
    assert len({sum(found) for _, found in kept.weights}) > 2


class Started(L.Callback):
    def on_train_start(self, trainer, pl_module):
        raise AssertionError("the baseline is evaluated here")


def test_a_schedule_longer_than_the_run_is_refused(loader, fit):
    with pytest.raises(UserError, match=r"total_step is 12 and the run takes 4 .* Set total_step to 4"):
        fit(module(), loader(4), callbacks=[Started()], max_epochs=-1, max_steps=4)


def test_another_adapters_folder_is_refused_in_few_words(tmp_path):
    one, other = module(), module()
    other.adapter.config.target_modules = [f"a_layer_of_a_long_name_{i}" for i in range(99)] + ["q_proj"]
    one.configure_model()
    one.save_folder(tmp_path)
    other.configure_model()
    with pytest.raises(UserError, match=r"its target_modules is \[.*\.\.\. and this one's") as refused:
        other.load_folder(tmp_path)
    assert len(str(refused.value).replace(str(tmp_path), "")) < 330


def test_no_rank_to_give_up_is_refused():
    with pytest.raises(UserError, match="target_r is 6 and init_r 6"):
        module(target_r=INIT)


def with_steps_without_tokens(loader, empty):
    """A step is one row; the ones of these numbers have no supervised token."""
    rows = list(loader(1, rows=STEPS))
    for number in empty:
        rows[number]["labels"] = torch.full_like(rows[number]["labels"], IGNORE)
    return torch.utils.data.DataLoader(rows, batch_size=None)


@pytest.mark.parametrize(
    ("options", "empty"),
    [({}, [8]), ({}, [7, 8, 9, 10]), ({"deltaT": 10}, [8]), ({"tinit": 8}, [8])],
    ids=["final", "final_and_after", "no_earlier_allocation", "first_is_final"],
)
def test_a_final_step_without_tokens_is_made_up_for(loader, fit, options, empty):
    tuner = module(**options)
    fit(tuner, with_steps_without_tokens(loader, empty), max_epochs=1)
    assert sum(ranks(tuner)) == TARGET * len(layers(tuner))


@pytest.mark.parametrize("empty", [[], [11]], ids=["all", "last_without_tokens"])
def test_a_run_without_a_final_allocation_warns(loader, fit, recwarn, empty):
    fit(module(tfinal=0), with_steps_without_tokens(loader, empty), max_epochs=1)
    warned = [str(w.message) for w in recwarn if "come down to target_r=2" in str(w.message)]
    assert len(warned) == bool(empty)


def test_a_parameter_that_no_token_reaches_stops_no_allocation(loader, fit):
    tuner = module()
    tuner.configure_model()
    tuner.adapted.base_model.unread = torch.nn.Parameter(torch.zeros(2))
    fit(tuner, loader(4), max_epochs=-1, max_steps=STEPS)
    assert sum(ranks(tuner)) == TARGET * len(layers(tuner))
