import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from finelab.callbacks.frozen_feature_probe import FrozenFeatureProbe


def blobs(rows: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlapping clouds on features of very different scales, one of them constant."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, classes, (rows,), generator=generator)
    features = centres[labels] + 1.5 * torch.randn(rows, 6, generator=generator)
    scales = torch.tensor([1.0, 10.0, 0.1, 1.0, 3.0, 0.0])
    return features * scales + torch.tensor([0.0, 5.0, 0.0, -3.0, 0.0, 2.0]), labels


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
def test_agrees_with_scikit_learn(classes: int, strength: float) -> None:
    (x, y), (x_new, y_new) = blobs(200, classes, 1), blobs(100, classes, 2)
    probe = FrozenFeatureProbe(classes, [strength])
    probe.fit(x, y, None)
    ours = probe.logits(x_new).softmax(-1).numpy()

    scaler = StandardScaler().fit(x.double().numpy())
    # scikit-learn's binary problem has one weight vector w where ours has two, +-w/2: the same penalty at half the C.
    c = 1 / (200 * strength) * (2 if classes == 2 else 1)
    theirs = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(scaler.transform(x.double().numpy()), y.numpy())
    expected = theirs.predict_proba(scaler.transform(x_new.double().numpy()))
    assert ours == pytest.approx(expected, abs=1e-4)
    assert log_loss(y_new, ours) == pytest.approx(log_loss(y_new, expected), abs=1e-5)


def test_the_strength_is_chosen_on_the_validation_rows() -> None:
    (x, y), held_out = blobs(30, 4, 1), blobs(200, 4, 2)
    nll = {}
    for strength in (1.0, 1e-1, 1e-2, 1e-3, 1e-4):
        probe = FrozenFeatureProbe(4, [strength])
        probe.fit(x, y, None)
        nll[strength] = torch.nn.functional.cross_entropy(probe.logits(held_out[0]), held_out[1]).item()
    chosen = FrozenFeatureProbe(4)
    chosen.fit(x, y, held_out)
    assert chosen.strength == min(nll, key=nll.__getitem__)
    loss = torch.nn.functional.cross_entropy(chosen.logits(held_out[0]), held_out[1]).item()
    assert loss == pytest.approx(min(nll.values()), abs=1e-5)


def test_fits_under_no_grad_and_draws_nothing() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with torch.no_grad():
        FrozenFeatureProbe(4).fit(*blobs(50, 4, 1), blobs(20, 4, 2))
    assert torch.equal(torch.get_rng_state(), state)
