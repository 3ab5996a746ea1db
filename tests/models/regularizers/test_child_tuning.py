"""Child-Tuning: its masks, what they let move, and the Fisher information behind mode D."""

import functools

import pytest
import torch
from peft import LoraConfig
from torch import nn

from finelab.contracts.errors import UserError
from finelab.models import CausalLM, SequenceClassifier
from finelab.models.adapters import Full, LinearProbe
from finelab.models.regularizers import SAM, ChildTuning
from finelab.models.regularizers.child_tuning import top
from finelab.models.regularizers.regularizer import Fresh
from finelab.models.stack import StepReplay


def replay(seed):
    return StepReplay(lambda: 0.0, seed, 0.0)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(30, 20), Fresh()
        self.head.weight = nn.Parameter(torch.ones(5))


def masked(method, model, seed):
    for p in model.parameters():
        p.grad = torch.full_like(p, 3.0)
    method.shape_gradients(list(model.parameters()), replay(seed))
    method.after_step(list(model.parameters()))
    return model.body.weight.grad.clone()


def test_mode_f_has_the_gradient_as_its_mean():
    """Each step keeps a share p, scaled by 1/p; the mean over steps is the gradient."""
    method, model = ChildTuning(0.3), Model()
    method.attach(model)
    steps = torch.stack([masked(method, model, seed) for seed in range(400)])
    assert steps.unique().tolist() == [0.0, pytest.approx(10.0)]
    assert (steps > 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    assert steps.mean(0).mean().item() == pytest.approx(3.0, rel=0.01)
    assert (steps.mean(0) - 3.0).abs().max() < 5 * 3.0 * (0.7 / 0.3 / 400) ** 0.5
    assert torch.equal(model.head.weight.grad, torch.full((5,), 3.0))


def test_the_mask_is_counted_by_step_and_name():
    method, model = ChildTuning(0.5), Model()
    method.attach(model)
    first, again, other = masked(method, model, 1), masked(method, model, 1), masked(method, model, 2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    alone, renamed = ChildTuning(0.5), Model()
    renamed.extra = nn.Linear(2, 2)
    alone.attach(renamed)
    assert torch.equal(masked(alone, renamed, 1), first)


def adamw():
    return functools.partial(torch.optim.AdamW, lr=0.05, weight_decay=0.5)


def test_mode_d_leaves_the_rest_bit_identical_under_momentum_and_decay(loader, fit):
    method = ChildTuning(0.2, mode="D", rows=8)
    module = CausalLM("tiny://llama", Full(), adamw(), [method])
    module.configure_model()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    fit(module, loader(2), max_epochs=2)
    moved = {name: p.detach() != before[name] for name, p in module.named_parameters()}
    total = sum(part.sum() for part in moved.values()) / sum(part.numel() for part in moved.values())
    assert total.item() == pytest.approx(0.2, abs=0.002)
    for p, mask in method.masks.items():
        name = next(n for n, q in module.named_parameters() if q is p)
        assert torch.equal(moved[name].float(), mask)


def test_mode_f_moves_a_share_in_each_step(loader, fit):
    """AdamW, whose momentum and decay would move every weight in every step."""
    module = CausalLM("tiny://llama", Full(), adamw(), [ChildTuning(0.2)])
    module.configure_model()
    for _ in range(2):
        before = torch.cat([p.detach().flatten() for p in module.parameters()])
        fit(module, loader(8), max_epochs=1)
        moved = torch.cat([p.detach().flatten() for p in module.parameters()]) != before
        assert moved.float().mean().item() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(("p", "ours", "theirs"), [(0.3, 0.20, 0.55), (0.7, 0.61, 0.84)])
def test_what_the_docstring_says_of_adam(p, ours, theirs):
    """The mean way of a weight under a steady gradient, relative to plain Adam's."""
    torch.manual_seed(0)
    ways = []
    for restore in (True, False):
        weight = nn.Parameter(torch.zeros(2000))
        optimizer = torch.optim.Adam([weight], lr=1e-3)
        method = ChildTuning(p)
        method.names = {weight: "w"}
        for step in range(600):
            if step == 200:
                start = weight.detach().mean().item()  # after the first steps, in which v is a mean of few
            weight.grad = torch.ones(2000)
            method.shape_gradients([weight], replay(step))
            optimizer.step()
            if not restore:
                method.begun = False
            method.after_step([weight])
        ways.append((start - weight.detach().mean().item()) / 0.4)
    assert ways == [pytest.approx(ours, abs=0.02), pytest.approx(theirs, abs=0.03)]
    assert p**1.5 * (1 + 0.1 * (1 / p - 1)) == pytest.approx(ours, abs=0.01)
    assert p**0.5 == pytest.approx(theirs, abs=0.01)


class Keep(ChildTuning):
    """Remembers what it found."""

    def fisher(self, survey):
        self.found = super().fisher(survey)
        return self.found


def test_fisher_is_the_mean_of_squared_gradients_of_single_rows(loader, fit, sgd):
    method = Keep(0.3, mode="D", rows=5)
    module = SequenceClassifier("tiny://bert", Full(), sgd, [method], labels=["a", "b", "c"], head_dropout=0.5)
    module.configure_model()
    other = SequenceClassifier("tiny://bert", Full(), sgd, labels=["a", "b", "c"], head_dropout=0.5)
    other.configure_model()
    other.eval()
    parameters, expected = list(other.adapted.parameters()), 0.0
    rows = list(loader(1, classes=3))
    for number in torch.randperm(8, generator=torch.Generator().manual_seed(0))[:5]:
        batch = rows[number]
        outputs, targets, _ = other.supervised(batch)
        loss = nn.functional.cross_entropy(outputs.logits, targets, reduction="sum")
        gradients = torch.autograd.grad(loss, parameters)
        expected = expected + torch.cat([g.flatten() for g in gradients]) ** 2 / 5
    fit(module, loader(2, classes=3), max_epochs=1)
    found = torch.cat([part.flatten() for part in method.found])
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-12)
    assert not set(method.masks) & set(module.head.parameters())
    assert all(p.requires_grad for p in module.head.parameters())


def test_the_threshold_keeps_the_share_with_the_largest_values():
    values = [torch.tensor([1.0, 9.0, 3.0]), torch.tensor([[5.0, 7.0], [0.0, 2.0]])]
    assert top(values, 3 / 7).item() == 5.0
    assert top(values, 1e-9).item() == 9.0


def test_the_survey_shifts_no_draw_and_leaves_no_gradient(loader, fit, sgd, flat):
    """With a mask that keeps everything that has a gradient, the run is the baseline's to the last bit."""

    class All(ChildTuning):
        def before_training(self, survey):
            super().before_training(survey)
            self.masks = {p: torch.ones_like(p) for p in self.masks}

    weights = []
    for methods in ([], [All(0.5, mode="D", rows=3)]):
        module = SequenceClassifier("tiny://bert", Full(), sgd, methods, labels=["a", "b", "c"])
        fit(module, loader(2, classes=3), accumulate_grad_batches=2)
        weights.append(flat(module))
    assert torch.equal(*weights)


@pytest.mark.parametrize("mode", ["F", "D"])
@pytest.mark.parametrize(("micro", "accumulate"), [(1, 8), (3, 4)])
def test_any_split_is_the_same_step(loader, fit, sgd, flat, mode, micro, accumulate):
    weights = []
    for size, parts in ((8, 1), (micro, accumulate)):
        module = CausalLM("tiny://llama", Full(), sgd, [ChildTuning(0.3, mode=mode, rows=4)])
        fit(module, loader(size), accumulate_grad_batches=parts)
        weights.append(flat(module))
    assert (weights[0] - weights[1]).abs().max() < 1e-6


def test_a_resumed_run_finds_the_same_mask(loader, fit, sgd, tmp_path):
    """The Fisher information is that of the start, not of the restored weights."""
    masks = []
    for checkpoint in (None, tmp_path / "one.ckpt"):
        method = ChildTuning(0.3, mode="D", rows=4)
        module = CausalLM("tiny://llama", Full(), functools.partial(torch.optim.SGD, lr=1.0), [method])
        trainer = fit(module, loader(4), max_epochs=1)
        if checkpoint is None:
            trainer.save_checkpoint(tmp_path / "one.ckpt")
            masks.append(torch.cat([m.flatten() for m in method.masks.values()]))
            end = [p.detach().clone() for p in module.parameters()]
            continue
        method = ChildTuning(0.3, mode="D", rows=4)
        module = CausalLM("tiny://llama", Full(), sgd, [method])
        module.configure_model()
        for p, value in zip(module.parameters(), end, strict=True):
            p.data.copy_(value)
        fit(module, loader(4), max_epochs=1)
        masks.append(torch.cat([m.flatten() for m in method.masks.values()]))
    assert torch.equal(*masks)


def lora(**options):
    return LoraConfig(r=4, target_modules="all-linear", **options)


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"bias": "lora_only"}], ids=["lora", "dora", "bias"])
def test_mode_d_is_refused_where_the_adapter_starts_at_zero(loader, fit, sgd, options):
    module = CausalLM("tiny://llama", lora(**options), sgd, [ChildTuning(0.3, mode="D", rows=2)])
    with pytest.raises(UserError, match="mode: F.*Full"):
        fit(module, loader(2))


def test_mode_f_on_lora_and_mode_d_on_pissa_train(loader, fit, sgd):
    fit(CausalLM("tiny://llama", lora(), sgd, [ChildTuning(0.3)]), loader(2), max_epochs=1)
    pissa = lora(init_lora_weights="pissa")
    fit(CausalLM("tiny://llama", pissa, sgd, [ChildTuning(0.3, mode="D", rows=2)]), loader(2), max_epochs=1)


def test_beside_sam_the_weights_are_put_back_to_where_they_were_and_not_to_the_ascended_point(loader, fit):
    """SAM after it in the list calls the mask again, at w + eps."""
    for methods in ([ChildTuning(0.2), SAM(5.0)], [SAM(5.0), ChildTuning(0.2)]):
        module = CausalLM("tiny://llama", Full(), adamw(), methods)
        module.configure_model()
        before = torch.cat([p.detach().flatten() for p in module.parameters()])
        fit(module, loader(8), max_epochs=1)
        moved = torch.cat([p.detach().flatten() for p in module.parameters()]) != before
        assert moved.float().mean().item() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("mode", ["F", "D"])
def test_p_one_is_the_baseline_bit_for_bit(loader, sgd, fit, flat, mode):
    states = []
    for methods in ([], [ChildTuning(1.0, mode=mode)]):
        module = CausalLM("tiny://llama", lora(lora_dropout=0.2), sgd, methods)
        fit(module, loader(2))
        states.append((flat(module), torch.get_rng_state()))
    assert torch.equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1], states[1][1])


def test_without_its_short_cut_a_mask_that_keeps_all_is_the_baseline(loader, sgd, fit, flat):
    weights = []
    for methods in ([], [ChildTuning(1 - 1e-9)]):  # float32 rounds it to 1, so that every weight is drawn to move
        module = CausalLM("tiny://llama", lora(lora_dropout=0.2), sgd, methods)
        fit(module, loader(2))
        weights.append(flat(module))
    assert torch.allclose(*weights, atol=1e-6)


def test_nothing_to_mask_is_refused(sgd):
    module = SequenceClassifier("tiny://bert", LinearProbe(), sgd, [ChildTuning(0.3)], labels=["a", "b"])
    with pytest.raises(UserError, match="only a new head trains"):
        module.configure_model()


def test_two_in_a_list_are_refused(sgd):
    module = CausalLM("tiny://llama", Full(), sgd, [ChildTuning(0.3), ChildTuning(0.5)])
    with pytest.raises(UserError, match="ChildTuning and ChildTuning"):
        module.configure_model()


@pytest.mark.parametrize("options", [{"p": 0.0}, {"p": 1.5}, {"rows": 0}, {"mode": "E"}], ids=str)
def test_what_is_no_share_is_refused(options):
    with pytest.raises(UserError, match="share of weights"):
        ChildTuning(**options)
