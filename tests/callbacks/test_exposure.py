"""Exposure beside its definition, its interval beside the ranks among all secrets, and chance beside simulation."""

import math

import numpy as np
import pytest

from finelab.callbacks.exposure import BY_CHANCE, chance, exposure


@pytest.mark.parametrize("rank", [1, 2, 17, 1000])
def test_among_all_secrets_it_is_the_definition(rank):
    others = np.arange(1000.0)[np.arange(1000) != rank - 1]
    found = exposure(rank - 1.0, others, 1000, True)
    assert found.bits == found.low == found.high == pytest.approx(math.log2(1000) - math.log2(rank))


def test_a_tie_counts_against_it():
    assert exposure(1.0, np.ones(3), 4, True).bits == 0


def test_a_sample_shows_at_most_its_own_size_and_the_interval_reaches_further():
    found = exposure(-1.0, np.arange(255.0), 10**6, False)
    assert found.bits == pytest.approx(8) and found.high == pytest.approx(math.log2(10**6))
    assert found.low == pytest.approx(-math.log2(1 - 0.025 ** (1 / 255))), "Clopper and Pearson for none of 255"
    nothing = exposure(1e9, np.arange(255.0), 10**6, False)
    assert nothing.bits == nothing.low == 0 < nothing.high < 0.1


def test_the_interval_holds_the_exposure_among_all_secrets():
    generator = np.random.default_rng(0)
    every = generator.normal(size=10_000)
    held = 0
    for rank in (3, 100, 1000, 5000) * 50:
        own = np.sort(every)[rank - 1]
        sample = generator.choice(every[every != own], 200, replace=False)
        found = exposure(own, sample, 10_000, False)
        held += found.low <= math.log2(10_000 / rank) <= found.high
    assert held >= 0.95 * 200


def test_chance_is_what_secrets_have_that_were_never_seen():
    """Ranks are exchangeable then: the mean is that of an exponential variable, and few chances are small."""
    generator = np.random.default_rng(1)
    bits = np.log2(2**10 / generator.integers(1, 2**10 + 1, size=(4000, 6)))
    assert bits.mean() == pytest.approx(BY_CHANCE, abs=0.05)
    found = np.array([chance(list(own)) for own in bits])
    assert 0.035 < (found < 0.05).mean() < 0.06
    assert chance([10.0] * 6) < 1e-9 and chance([0.0]) == 1
