"""SAM against its closed form and a plain loop."""

import functools

import pytest
import torch
from peft import LoraConfig
from torch import nn

from finelab.contracts.errors import UserError
from finelab.models import CausalLM
from finelab.models.adapters import Full
from finelab.models.backbone import Loading
from finelab.models.regularizers import L2SP, SAM
from finelab.models.regularizers.regularizer import Regularizer


class Bowl(nn.Module):
    """f = 1/2 sum h w^2 with h = (1, 10) and w = (1, 1)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def value(self):
        return 0.5 * (torch.tensor([1.0, 10.0]) * self.weight.square()).sum()


class BowlReplay:
    def __init__(self, bowl):
        self.bowl, self.seen = bowl, []
        self.objective = self()

    def __call__(self):
        self.bowl.weight.grad = None
        value = self.bowl.value()
        value.backward()
        self.seen.append(self.bowl.weight.detach().clone())
        return value.item()


def shaped(method):
    bowl = Bowl()
    method.attach(bowl)
    replay = BowlReplay(bowl)
    sharpness = method.shape_gradients([bowl.weight], replay)
    return bowl, replay, sharpness


def test_sam_on_the_known_bowl():
    bowl, replay, sharpness = shaped(SAM(0.05))
    assert (replay.seen[1] - 1).tolist() == pytest.approx([0.004975, 0.049752], abs=1e-6)
    assert bowl.weight.grad.tolist() == pytest.approx([1.004975, 10.497519], abs=1e-6)
    assert sharpness == pytest.approx(0.5 * (1.004975**2 + 10 * 1.049752**2) - 5.5, abs=1e-5)
    assert torch.equal(bowl.weight.detach(), torch.ones(2))


def test_asam_on_the_known_bowl():
    """eta 0.01: eps = rho T^2 g / |T g| with T = 1.01."""
    _, replay, _ = shaped(SAM(0.05, adaptive=True, eta=0.01))
    assert (replay.seen[1] - 1).tolist() == pytest.approx([0.005025, 0.050249], abs=1e-6)


def test_asam_scales_only_what_is_called_a_weight():
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, -1.0]]))
        model.bias.fill_(5.0)
    model.weight.grad, model.bias.grad = torch.tensor([[1.0, 2.0]]), torch.tensor([2.0])
    method = SAM(0.5, adaptive=True, eta=0.01)
    method.attach(model)
    weight, bias = method.ascent([model.weight, model.bias])
    scaled = torch.tensor([3.01 * 1, 1.01 * 2, 2.0])
    expected = 0.5 / scaled.norm() * torch.tensor([3.01**2 * 1, 1.01**2 * 2, 2.0])
    assert torch.allclose(torch.cat([weight.flatten(), bias]), expected, rtol=1e-6)


def test_the_weights_come_back_when_the_second_pass_fails():
    bowl = Bowl()
    replay = BowlReplay(bowl)
    replay.bowl = None
    with pytest.raises(AttributeError):
        SAM(0.05).shape_gradients([bowl.weight], replay)
    assert torch.equal(bowl.weight.detach(), torch.ones(2))


def test_a_gradient_of_zero_is_no_direction_and_no_number_lost():
    bowl = Bowl()
    with torch.no_grad():
        bowl.weight.zero_()
    replay = BowlReplay(bowl)
    assert SAM(0.05).shape_gradients([bowl.weight], replay) == 0.0
    assert torch.equal(replay.seen[1], torch.zeros(2))


def test_only_the_second_gradient_is_clipped(loader, fit, flat):
    """At rate 1 SGD moves by the clipped gradient; clipping the first could not change a direction of length rho."""
    sgd = functools.partial(torch.optim.SGD, lr=1.0)
    moves = []
    for clip in (None, 0.05):
        module = CausalLM("tiny://llama", Full(), sgd, [SAM(0.5)])
        module.configure_model()
        before = flat(module)
        fit(module, loader(8), max_epochs=1, gradient_clip_val=clip)
        moves.append(flat(module) - before)
    assert moves[1].norm().item() == pytest.approx(0.05, rel=1e-4)
    assert torch.allclose(moves[1], moves[0] * (0.05 / moves[0].norm()), atol=1e-7)


def test_the_same_dropout_masks_in_both_passes(loader, sgd, fit):
    class Masks(Regularizer):
        """Which entries the head's dropout took, pass by pass."""

        def attach(self, model):
            self.taken = []
            layer = next(m for m in model.modules() if isinstance(m, nn.Dropout) and m.p)
            layer.register_forward_hook(
                lambda m, i, o: self.taken.append((o == 0) & (i[0] != 0)) if m.training else None
            )

    masks = Masks()
    adapter = LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.5)
    fit(CausalLM("tiny://llama", adapter, sgd, [masks, SAM(0.05)]), loader(2), accumulate_grad_batches=4, max_epochs=1)
    assert len(masks.taken) == 8
    for first, second in zip(masks.taken[:4], masks.taken[4:], strict=True):
        assert first.any()
        assert torch.equal(first, second)


def test_sharpness_is_logged(loader, sgd, fit):
    module = CausalLM("tiny://llama", Full(), sgd, [SAM(0.5)])
    trainer = fit(module, loader(4), max_epochs=1)
    assert trainer.callback_metrics["reg/SAM"].item() > 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_trainable_weights_are_refused(sgd, dtype):
    module = CausalLM("tiny://llama", Full(), sgd, [SAM(0.05)], loading=Loading(dtype=dtype))
    with pytest.raises(UserError, match=f"torch.{dtype}.*model.loading"):
        module.configure_model()


def test_frozen_bfloat16_weights_under_float32_lora_are_fine(sgd, loader, fit):
    adapter = LoraConfig(r=4, target_modules="all-linear")
    module = CausalLM("tiny://llama", adapter, sgd, [SAM(0.05)], loading=Loading(dtype="bfloat16"))
    fit(module, loader(4), max_epochs=1)


@pytest.mark.parametrize("off", [SAM(0.0), SAM(0.0, adaptive=True)], ids=["sam", "asam"])
def test_rho_zero_is_the_baseline_bit_for_bit(loader, sgd, fit, flat, off):
    states = []
    for regularizers in ([], [off]):
        module = CausalLM("tiny://llama", LoraConfig(lora_dropout=0.2, target_modules="all-linear"), sgd, regularizers)
        fit(module, loader(2), accumulate_grad_batches=2)
        states.append((flat(module), torch.get_rng_state()))
    assert torch.equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1], states[1][1])


def test_without_its_short_cut_rho_zero_is_the_baseline_to_rounding(loader, sgd, fit, flat):
    weights = []
    for regularizers in ([], [SAM(1e-30)]):
        module = CausalLM("tiny://llama", LoraConfig(lora_dropout=0.2, target_modules="all-linear"), sgd, regularizers)
        fit(module, loader(2), accumulate_grad_batches=2)
        weights.append(flat(module))
    assert (weights[0] - weights[1]).abs().max() < 1e-6


def test_the_penalty_is_part_of_both_gradients(loader, sgd, fit, flat):
    """SAM of J and not of the loss alone: at the start L2-SP has no gradient, and at w + eps it is weight * eps."""
    moves = []
    for weight in (0.0, 2.0):
        module = CausalLM("tiny://llama", Full(), functools.partial(torch.optim.SGD, lr=1.0), [L2SP(weight), SAM(0.5)])
        module.configure_model()
        before = flat(module)
        fit(module, loader(8), max_epochs=1)
        moves.append(before - flat(module))
    assert (moves[1] - moves[0]).norm().item() == pytest.approx(2.0 * 0.5, rel=1e-4)


@pytest.mark.parametrize("options", [{"rho": -0.1}, {"rho": 0.1, "eta": -1.0}], ids=["rho", "eta"])
def test_negative_sizes_are_refused(options):
    with pytest.raises(UserError, match="0 or more"):
        SAM(**options)
