"""Label smoothing against its closed form."""

import math

import pytest
import torch
from torch.nn import functional as F

from finelab.contracts.errors import UserError
from finelab.models import SequenceClassifier, losses
from finelab.models.adapters import Full
from finelab.models.likelihoods import Bernoulli, Categorical
from finelab.models.losses import IMPOSSIBLE, uniform_nll
from finelab.models.regularizers import LabelSmoothing, RDrop
from finelab.models.regularizers.regularizer import Outputs, Step

from .. import made_up_targets as made


def step(logits, targets, likelihood=None, second=None):
    likelihood = likelihood or Categorical()
    outputs, other = Outputs(logits, logits), Outputs(second, second)
    rows = torch.arange(len(targets))
    return Step(outputs, targets, rows, likelihood.nll(logits, targets), likelihood, lambda: other, lambda: outputs)


def objective(case, epsilon):
    return case.nll.sum() + LabelSmoothing(epsilon).token_term(case).addition


@pytest.mark.parametrize(("classes", "floor", "gap"), [(2, 0.1985, 2.94), (3, 0.2911, 3.33), (32000, 1.3624, 12.57)])
def test_the_floor_is_the_entropy_of_the_target_at_the_optimal_gap(classes, floor, gap):
    spread = 0.1 / classes
    lead = math.log((0.9 + spread) / spread)
    assert lead == pytest.approx(gap, abs=0.005)
    logits = torch.zeros(1, classes, dtype=torch.float64)
    logits[0, 1] = lead
    logits = logits.float().requires_grad_()
    loss = objective(step(logits, torch.tensor([1])), 0.1)
    assert loss.item() == pytest.approx(floor, abs=5e-5)
    loss.backward()
    assert logits.grad.abs().max() < 5e-5, "the gap is the minimum, up to float32 over V classes"


@pytest.mark.parametrize("epsilon", [0.1, 0.5])
def test_gradient_is_p_minus_q_and_the_loss_is_torchs(epsilon):
    torch.manual_seed(0)
    logits, targets = torch.randn(6, 5, requires_grad=True), torch.tensor([0, 1, 2, 3, 4, 0])
    loss = objective(step(logits, targets), epsilon)
    expected = F.cross_entropy(logits, targets, label_smoothing=epsilon, reduction="sum")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    loss.backward()
    q = (1 - epsilon) * F.one_hot(targets, 5) + epsilon / 5
    assert (logits.grad - (logits.detach().softmax(-1) - q)).abs().max() < 1e-6


def test_shown_is_the_addition_without_its_weight():
    case = step(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    term = LabelSmoothing(0.2).token_term(case)
    assert term.addition.item() == pytest.approx(0.2 * term.shown.item(), rel=1e-6)


def test_each_label_of_a_multi_label_target_is_a_case_of_two_classes():
    torch.manual_seed(0)
    logits, targets = torch.randn(4, 3), torch.randint(0, 2, (4, 3))
    loss = objective(step(logits, targets, Bernoulli()), 0.1)
    two = torch.stack([torch.zeros_like(logits), logits], -1).flatten(0, 1)
    expected = F.cross_entropy(two, targets.flatten(), label_smoothing=0.1, reduction="sum")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("absent", [IMPOSSIBLE, -math.inf, torch.finfo(torch.float32).min])
def test_choices_that_there_are_not_get_no_part(absent):
    torch.manual_seed(0)
    real, targets = torch.randn(2, 3), torch.tensor([0, 2])
    padded = F.pad(real, (0, 2), value=absent).requires_grad_()
    loss = objective(step(padded, targets), 0.1)
    assert loss.item() == pytest.approx(objective(step(real, targets), 0.1).item(), rel=1e-6)
    loss.backward()
    q = 0.9 * F.one_hot(targets, 3) + 0.1 / 3
    assert (padded.grad[:, :3] - (real.softmax(-1) - q)).abs().max() < 1e-6
    assert not padded.grad[:, 3:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_change_neither_value_nor_gradient(monkeypatch, dtype):
    torch.manual_seed(0)
    logits = torch.randn(7, 10).to(dtype).requires_grad_()
    weights = torch.rand(7)
    expected = -logits.float().log_softmax(-1).mean(-1)
    (wanted,) = torch.autograd.grad((weights * expected).sum(), logits)
    monkeypatch.setattr(losses, "ELEMENTS", 2 * 10)
    assert len(list(losses.chunks(logits))) == 4
    found = uniform_nll(logits)
    assert (found - expected).abs().max() < 1e-6
    (gradient,) = torch.autograd.grad((weights * found).sum(), logits)
    assert gradient.dtype == dtype
    assert (gradient - wanted).abs().max() < (1e-6 if dtype == torch.float32 else 1e-3)


def test_a_large_vocabulary_gets_no_float32_copy(monkeypatch):
    """Neither direction makes a float32 tensor of more than a chunk; the gradient has the logits' own type."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor) and found.dtype == torch.float32:
                self.numbers = max(self.numbers, found.numel())
            return found

    monkeypatch.setattr(losses, "ELEMENTS", 4000)
    logits = torch.randn(16, 1000).bfloat16().requires_grad_()
    with Largest() as seen:
        uniform_nll(logits).sum().backward()
    assert seen.numbers == 4000
    assert logits.grad.dtype == torch.bfloat16


def test_beside_rdrop_it_smooths_the_first_forward_only():
    torch.manual_seed(0)
    first, second, targets = torch.randn(2, 3), torch.randn(2, 3), torch.tensor([0, 1])
    case = step(first, targets, second=second)
    total = case.nll.sum() + sum(method.token_term(case).addition for method in (RDrop(1e-9), LabelSmoothing(0.1)))
    hard = [F.cross_entropy(z, targets, reduction="sum") for z in (first, second)]
    uniform = -first.log_softmax(-1).mean(-1).sum()
    assert total.item() == pytest.approx((0.5 * sum(hard) + 0.1 * (uniform - hard[0])).item(), rel=1e-6)


def test_zero_is_the_baseline_and_its_short_cut_is_only_one(loader, sgd, fit, flat):
    class Whole(LabelSmoothing):
        def token_term(self, step):
            return self.smoothed(step)

    weights = []
    for methods in ([], [LabelSmoothing(0.0)], [Whole(0.0)], [LabelSmoothing(0.1)]):
        module = classifier(sgd, methods)
        fit(module, loader(2, classes=3), max_epochs=1)
        weights.append(flat(module))
    assert torch.equal(weights[0], weights[1])
    assert (weights[0] - weights[2]).abs().max() < 1e-6
    assert (weights[0] - weights[3]).abs().max() > 1e-4


def classifier(sgd, methods):
    return SequenceClassifier("tiny://bert", Full(), sgd, methods, labels=["a", "b", "c"])


def test_a_number_cannot_be_smoothed(sgd, fit):
    module = made.model("regression", sgd, regularizers=[LabelSmoothing(0.1)])
    with pytest.raises(UserError, match="LabelSmoothing"):
        fit(module, made.loader("regression", 4), max_epochs=1)


@pytest.mark.parametrize("epsilon", [-0.1, 1.0])
def test_epsilon_is_a_part(epsilon):
    with pytest.raises(UserError, match=f"epsilon={epsilon}"):
        LabelSmoothing(epsilon)
