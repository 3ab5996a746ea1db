"""What logits say about labels, against closed forms and torch's own distributions."""

import math

import pytest
import torch
from torch.distributions import Bernoulli as Coin
from torch.distributions import Normal, kl_divergence

from finelab.models.likelihoods import Bernoulli, Categorical, Gaussian
from finelab.models.losses import symmetric_kl, token_nll
from finelab.models.regularizers import RDrop
from finelab.models.regularizers.regularizer import Outputs, Step

KINDS = {
    "categorical": (Categorical(), 4, torch.tensor([0, 3, 1])),
    "bernoulli": (Bernoulli(), 4, torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]])),
    "gaussian": (Gaussian(), 1, torch.tensor([0.5, -2.0, 3.0])),
}


def logits(width, seed=0):
    return torch.randn(3, width, generator=torch.Generator().manual_seed(seed))


def test_categorical_is_cross_entropy():
    z, targets = logits(4), KINDS["categorical"][2]
    assert torch.equal(Categorical().nll(z, targets), token_nll(z, targets))
    assert torch.equal(Categorical().divergence(z, logits(4, 1)), symmetric_kl(z, logits(4, 1)))


def test_bernoulli_is_the_joint_likelihood_of_all_labels():
    z, targets = logits(4), KINDS["bernoulli"][2]
    expected = -Coin(logits=z).log_prob(targets.float()).sum(-1)
    assert torch.allclose(Bernoulli().nll(z, targets), expected, atol=1e-6)
    assert Bernoulli().nll(torch.zeros(1, 4), targets[:1]).item() == pytest.approx(4 * math.log(2))


def test_bernoulli_divergence_is_that_of_torch():
    p, q = Coin(logits=logits(4)), Coin(logits=logits(4, 1))
    expected = 0.5 * (kl_divergence(p, q) + kl_divergence(q, p)).sum(-1)
    assert torch.allclose(Bernoulli().divergence(p.logits, q.logits), expected, atol=1e-5)


def test_gaussian_is_that_of_torch():
    means, targets = logits(1), KINDS["gaussian"][2]
    assert torch.allclose(Gaussian().nll(means, targets), -Normal(means[:, 0], 1.0).log_prob(targets), atol=1e-6)
    p, q = Normal(means[:, 0], 1.0), Normal(logits(1, 1)[:, 0], 1.0)
    assert torch.allclose(Gaussian().divergence(means, logits(1, 1)), kl_divergence(p, q), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_likelihood_is_float32_with_one_value_a_position(kind):
    likelihood, width, targets = KINDS[kind]
    z = logits(width).bfloat16()
    for values in (likelihood.nll(z, targets), likelihood.divergence(z, logits(width, 1).bfloat16())):
        assert values.shape == (3,)
        assert values.dtype == torch.float32
    assert likelihood.divergence(z, z).abs().max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_rdrop_uses_the_likelihood_of_the_target(kind):
    likelihood, width, targets = KINDS[kind]
    first, second = logits(width), logits(width, 1)
    nll = likelihood.nll(first, targets)
    outputs, others = Outputs(first, first), Outputs(second, second)
    step = Step(outputs, targets, torch.arange(3), nll, likelihood, lambda: others, lambda: outputs)
    term = RDrop(2.0).token_term(step)
    divergence = likelihood.divergence(first, second).sum()
    expected = 0.5 * (nll + likelihood.nll(second, targets)).sum() + 0.5 * 2.0 * divergence
    assert (nll.sum() + term.addition).item() == pytest.approx(expected.item(), rel=1e-6)
    assert term.shown.item() == pytest.approx(divergence.item())
