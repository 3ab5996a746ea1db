import itertools

import numpy as np
import pytest

from finelab.data.mixing import interleave, quotas, shares

COUNTS = [
    (1,),
    (7, 3),
    (1, 999),
    (10, 20, 30),
    (1, 1, 1, 1, 1),
    (97, 2, 1),
    (500, 1, 1, 1, 1, 1, 1),
    (13, 29, 31, 7),
    (0, 5, 3),
]


@pytest.mark.parametrize("counts", COUNTS)
def test_every_prefix_is_within_one_row_of_the_shares(counts):
    """In whole numbers: |N c - k q| < N for the count c of each source after k of N slots."""
    slots = interleave(counts)
    size = sum(counts)
    assert len(slots) == size
    for source, count in enumerate(counts):
        given = np.cumsum(slots == source)
        assert np.abs(size * given - np.arange(1, size + 1) * count).max() < size
        assert given[-1] == count


def test_every_small_mixture_is_exact():
    """All mixtures of up to four sources with up to seven rows each: no schedule is only lucky."""
    for length in (2, 3, 4):
        for counts in itertools.product(range(1, 8), repeat=length):
            slots, size = interleave(counts), sum(counts)
            given = np.cumsum(slots[:, None] == np.arange(length), axis=0)
            lag = size * given - np.arange(1, size + 1)[:, None] * np.array(counts)
            assert np.abs(lag).max() < size, counts


def test_random_mixtures_of_many_sources_are_exact():
    generator = np.random.default_rng(0)
    for _ in range(60):
        counts = generator.integers(1, 400, size=generator.integers(2, 25))
        slots, size = interleave(counts.tolist()), int(counts.sum())
        given = np.cumsum(slots[:, None] == np.arange(len(counts)), axis=0)
        assert np.abs(size * given - np.arange(1, size + 1)[:, None] * counts).max() < size


def test_temperatures():
    sizes = {"a": 100, "b": 900}
    assert shares(sizes, None, 1.0) == pytest.approx({"a": 0.1, "b": 0.9})
    assert shares(sizes, None, 2.0) == pytest.approx({"a": 0.25, "b": 0.75})
    assert shares(sizes, None, float("inf")) == pytest.approx({"a": 0.5, "b": 0.5})
    assert shares({"a": 1, "b": 10**9}, None, 0.1)["b"] == pytest.approx(1.0)


def test_fixed_shares_know_no_unit():
    assert shares({"a": 5, "b": 900}, {"a": 1, "b": 3}, 1.0) == pytest.approx({"a": 0.25, "b": 0.75})


def test_quotas_sum_up_and_stay_within_one_row():
    generator = np.random.default_rng(1)
    for _ in range(300):
        weights = generator.random(generator.integers(1, 9))
        wanted = {str(i): float(w) for i, w in enumerate(weights / weights.sum())}
        size = int(generator.integers(1, 5000))
        found = quotas(size, wanted)
        assert sum(found.values()) == size
        assert all(abs(found[name] - size * share) < 1 + 1e-6 for name, share in wanted.items())


def test_proportional_quotas_are_the_sizes():
    """Temperature one: an epoch is every row once, whatever the rounding of the shares."""
    generator = np.random.default_rng(2)
    for _ in range(300):
        sizes = {str(i): int(n) for i, n in enumerate(generator.integers(1, 10**6, size=generator.integers(1, 12)))}
        assert quotas(sum(sizes.values()), shares(sizes, None, 1.0)) == sizes
