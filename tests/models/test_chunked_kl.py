"""The Kullback-Leibler divergence in chunks: its value, its gradient, and what it holds in memory."""

import weakref

import pytest
import torch
from torch.distributions import Categorical, kl_divergence
from torch.utils._python_dispatch import TorchDispatchMode

from finelab.models import losses
from finelab.models.losses import directed_kl, symmetric_kl

FORMS = {"directed": directed_kl, "symmetric": symmetric_kl}


def naive(form, logits, others):
    p, q = Categorical(logits=logits), Categorical(logits=others)
    return kl_divergence(p, q) if form == "directed" else 0.5 * (kl_divergence(p, q) + kl_divergence(q, p))


def pair(rows, classes, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2)]


class Live(TorchDispatchMode):
    """Bytes of the float32 tensors that operations made and that are still there, at their most."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        in_place = any(found is x for x in args)
        if isinstance(found, torch.Tensor) and found.dtype == torch.float32 and not function.is_view and not in_place:
            size = found.numel() * 4
            self.now += size
            weakref.finalize(found, self.drop, size)
            self.largest, self.peak = max(self.largest, size), max(self.peak, self.now)
        return found

    def drop(self, size):
        self.now -= size


@pytest.mark.parametrize("elements", [1, 7, 20, 1 << 22])
@pytest.mark.parametrize("form", FORMS)
def test_any_chunk_gives_the_naive_formula_and_its_gradient(monkeypatch, form, elements):
    monkeypatch.setattr(losses, "ELEMENTS", elements)
    ours, plain = ([x.requires_grad_() for x in pair(11, 5)] for _ in range(2))
    weight = torch.linspace(-1, 2, 11, dtype=torch.float64)
    values = [FORMS[form](*ours), naive(form, *plain)]
    assert torch.allclose(*values, atol=1e-12)
    for value in values:
        (value * weight).sum().backward()
    for mine, theirs in zip(ours, plain, strict=True):
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-12)


def test_the_known_case():
    """z1 = (1,0,0), z2 = (0,1,0): both directions are p1 - p2 = 0.364175."""
    first, second = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    for form in FORMS.values():
        assert form(first, second).item() == pytest.approx(0.364175, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_gradcheck(monkeypatch, form):
    monkeypatch.setattr(losses, "ELEMENTS", 8)
    assert torch.autograd.gradcheck(FORMS[form], [x.requires_grad_() for x in pair(5, 4)])


@pytest.mark.parametrize("form", FORMS)
def test_equal_logits_give_exactly_nothing(form):
    logits = pair(50, 97, torch.float32)[0]
    left, right = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value = FORMS[form](left, right)
    value.sum().backward()
    assert value.abs().max() == 0
    assert left.grad.abs().max() == 0
    assert right.grad.abs().max() == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_class_that_neither_allows_counts_nothing(form):
    left, right = (x.requires_grad_() for x in pair(6, 4))
    shut = torch.full((6, 1), -torch.inf, dtype=torch.float64)
    value = FORMS[form](torch.cat([left, shut], 1), torch.cat([right, shut], 1))
    value.sum().backward()
    assert torch.allclose(value, naive(form, *pair(6, 4)), atol=1e-12)
    assert left.grad.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_only_what_needs_a_gradient_gets_one(form):
    left, right = pair(6, 4)
    FORMS[form](left, right.requires_grad_()).sum().backward()
    expected = pair(6, 4)[1].requires_grad_()
    naive(form, left, expected).sum().backward()
    assert left.grad is None
    assert torch.allclose(right.grad, expected.grad, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_memory_is_bounded_by_elements_and_not_by_positions(monkeypatch, form):
    """bfloat16 logits of a large vocabulary: their gradients are bfloat16, and float32 stays within a few chunks."""
    monkeypatch.setattr(losses, "ELEMENTS", 1 << 16)
    chunk, (left, right) = 4 << 16, pair(256, 16384, torch.bfloat16)
    whole, kept = left.numel() * 4, []
    left.requires_grad_(), right.requires_grad_()
    with Live() as live, torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        value = FORMS[form](left, right)
        value.sum().backward()
    assert whole == 64 * chunk
    assert live.largest <= chunk
    assert live.peak <= 8 * chunk
    assert {x.data_ptr() for x in kept if x.numel() > 256} == {left.data_ptr(), right.data_ptr()}
    assert left.grad.dtype == right.grad.dtype == torch.bfloat16
    assert value.dtype == torch.float32
    exact = [x.detach().double().requires_grad_() for x in (left, right)]
    truth = naive(form, *exact)
    truth.sum().backward()
    assert torch.allclose(value.double(), truth, rtol=1e-4)
    assert torch.allclose(left.grad.double(), exact[0].grad, rtol=1e-2, atol=1e-5)


def test_the_formula_in_one_piece_would_not_pass():
    """The measure above sees what it should: the plain formula holds several copies of everything."""
    left, right = (x.requires_grad_() for x in pair(64, 4096, torch.float32))
    with Live() as live:
        naive("symmetric", left, right).sum().backward()
    assert live.peak >= 4 * left.numel() * 4
