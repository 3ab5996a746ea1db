"""Made-up losses of the same rows over a run."""

from collections.abc import Callable

import numpy as np
import pytest

from finelab.callbacks.evidence.probe_series import ProbeSeries, ProbeSet


def noisy(mean: np.ndarray, rows: int, generator: np.random.Generator, wander: float = 0.15) -> np.ndarray:
    """[T, n]: rows of different difficulty around a curve [T], each with a loss of its own that wanders."""
    steps = generator.standard_normal((len(mean), rows))
    for t in range(1, len(mean)):
        steps[t] = 0.8 * steps[t - 1] + 0.6 * steps[t]
    return mean[:, None] * generator.gamma(4, 0.25, rows) + generator.gamma(1, 0.3, rows) + wander * steps


def probe_set(nll: np.ndarray, first_group: int = 0) -> ProbeSet:
    rows = nll.shape[1]
    return ProbeSet(nll, np.ones(rows), (nll < 0.7).astype(float), np.arange(first_group, first_group + rows))


@pytest.fixture
def series() -> Callable[..., ProbeSeries]:
    """A series from mean curves of validation and, unless None, training rows; 0.3 nats more than that on average."""

    def make(
        validation: np.ndarray, train: np.ndarray | None = None, rows: int = 400, seed: int = 0, wander: float = 0.15
    ) -> ProbeSeries:
        generator = np.random.default_rng(seed)
        validation = np.asarray(validation, dtype=float)
        own = None if train is None else probe_set(noisy(np.asarray(train, dtype=float), rows, generator, wander))
        nll = noisy(validation, rows, generator, wander)
        steps = np.arange(1, len(validation) + 1) * 50
        halves = probe_set(nll[:, ::2]), probe_set(nll[:, 1::2], rows)
        return ProbeSeries(steps, steps * 1e-3, own, *halves, {}, len(validation))

    return make
