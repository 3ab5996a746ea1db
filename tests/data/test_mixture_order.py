import numpy as np
import pytest

from finelab.data.mixture_order import MixtureOrder
from finelab.data.sampler import GlobalBatchSampler

GENERATOR = np.random.default_rng(0)
LENGTHS = {name: GENERATOR.integers(3, 200, size=size) for name, size in (("news", 300), ("tales", 90), ("five", 5))}
OFFSETS = {"news": 0, "tales": 300, "five": 390}
COUNTS = (95, 200, 100)


def order(epoch=0, counts=COUNTS, lengths=LENGTHS, seed=1, bucketing=False, global_batch=8):
    made = MixtureOrder(lengths, counts, global_batch, seed, bucketing)
    made.set_epoch(epoch)
    return made


def source_of(rows):
    return np.searchsorted([300, 390], np.asarray(rows), side="right")


def test_proportions_hold_after_every_prefix_over_epochs():
    rows = [row for epoch in range(4) for row in order(epoch)]
    sources = source_of(rows)
    for source, count in enumerate(COUNTS):
        given = np.cumsum(sources == source)
        assert np.abs(395 * given - np.arange(1, len(rows) + 1) * count).max() < 395


def test_each_row_comes_once_before_any_comes_again_and_epochs_go_on_where_the_last_stopped():
    rows = np.array([row for epoch in range(7) for row in order(epoch)])
    for source, (name, own) in enumerate(LENGTHS.items()):
        stream = rows[source_of(rows) == source] - OFFSETS[name]
        size = len(own)
        assert len(stream) == 7 * COUNTS[source]
        for start in range(0, len(stream) - size + 1, size):
            assert sorted(stream[start : start + size]) == list(range(size))
        passes = [tuple(stream[start : start + size]) for start in range(0, len(stream) - size + 1, size)]
        assert len(set(passes)) > 1


def test_a_source_runs_its_own_course_whatever_stands_beside_it():
    """Other shares and other sources move its slots, never the order of its rows."""
    alone = MixtureOrder({"tales": LENGTHS["tales"]}, [90], 8, 1, False)
    two = MixtureOrder({"tales": LENGTHS["tales"], "five": LENGTHS["five"]}, [60, 35], 8, 1, False)

    def stream(made, epochs):
        rows = []
        for epoch in range(epochs):
            made.set_epoch(epoch)
            rows += [row for row in made if row < 90]
        return rows

    assert stream(alone, 2) == stream(two, 3)
    assert stream(alone, 2) == [row - 300 for epoch in range(3) for row in order(epoch) if 300 <= row < 390][:180]


@pytest.mark.parametrize("bucketing", [True, False])
def test_ranks_share_the_same_global_batches_and_an_epoch_keeps_its_quotas(bucketing):
    def steps(world_size):
        samplers = [GlobalBatchSampler(order(2, bucketing=bucketing), rank, world_size) for rank in range(world_size)]
        return [set().union(*map(set, step)) for step in zip(*map(list, samplers), strict=True)]

    assert steps(1) == steps(2)
    rows = [row for batch in order(2, bucketing=bucketing).batches() for row in batch]
    assert np.bincount(source_of(rows)).tolist() == list(COUNTS)


@pytest.mark.parametrize("bucketing", [True, False])
@pytest.mark.parametrize("stop", [0, 1, 17, 49, 50])
def test_a_sampler_that_starts_later_gives_the_rest_of_the_epoch(stop, bucketing):
    whole = list(GlobalBatchSampler(order(3, bucketing=bucketing), 0, 2))
    late = GlobalBatchSampler(order(0, bucketing=bucketing), 0, 2)
    late.start_at(3, stop)
    assert list(late) == whole[stop:]


def test_the_order_of_the_first_epoch_is_what_it_was():
    """A golden value: another order would silently unpair new runs from old ones."""
    lengths = {"a": np.arange(6), "b": np.arange(2)}
    assert list(MixtureOrder(lengths, [5, 3], 4, 1, False)) == [3, 7, 4, 0, 6, 1, 2, 7]
