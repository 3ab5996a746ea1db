import numpy as np
import pytest

from finelab.contracts.errors import UserError
from finelab.data.sampler import MEGA_BATCH, FixedBatchSampler, GlobalBatchSampler, GlobalOrder

LENGTHS = np.random.default_rng(0).integers(3, 200, size=1003)


def steps(world_size, global_batch=16, size=1003, epoch=0, seed=1, bucketing=True):
    """Per step, the ranks' rows."""
    order = GlobalOrder(LENGTHS[:size], global_batch, seed, bucketing)
    order.set_epoch(epoch)
    ranks = [list(GlobalBatchSampler(order, rank, world_size)) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    assert len(ranks[0]) == len(GlobalBatchSampler(order, 0, world_size))
    return list(zip(*ranks, strict=True))


@pytest.mark.parametrize("bucketing", [True, False])
@pytest.mark.parametrize("size", [1003, 1000, 992, 16, 17])
def test_every_row_once_and_the_same_global_batches_on_1_2_and_4_ranks(size, bucketing):
    runs = {world_size: steps(world_size, size=size, bucketing=bucketing) for world_size in (1, 2, 4)}
    whole = [set(batch[0]) for batch in runs[1]]
    assert sorted(row for batch in whole for row in batch) == list(range(size))
    for world_size, run in runs.items():
        uneven = size % 16
        kept = whole[:-1] if 0 < uneven < world_size else whole
        assert [set().union(*map(set, step)) for step in run] == kept
        for step in run:
            assert min(map(len, step)) >= 1
            assert max(map(len, step)) - min(map(len, step)) <= 1


def test_rows_too_few_for_the_ranks_are_dropped_and_counted():
    order = GlobalOrder(LENGTHS[:19], 16, seed=1)
    assert [GlobalBatchSampler(order, 0, world_size).dropped for world_size in (1, 2, 4)] == [0, 0, 3]
    assert sum(len(batch) for step in steps(4, size=19) for batch in step) == 16


def test_the_order_depends_on_seed_and_epoch_alone():
    first = steps(1)
    np.random.seed(7)
    assert steps(1) == first
    orders = [steps(1, seed=seed, epoch=epoch) for seed in (1, 2) for epoch in (0, 1)]
    flat = [tuple(row for step in run for row in step[0]) for run in orders]
    assert len(set(flat)) == 4


def test_the_order_of_the_first_epoch_is_what_it_was():
    """A golden value: another order would silently unpair new runs from old ones."""
    order = GlobalOrder(np.arange(10), 4, seed=1, bucketing=False)
    assert list(order) == [3, 9, 4, 7, 1, 6, 5, 0, 2, 8]


def test_bucketing_puts_like_lengths_together_and_still_mixes():
    def waste(bucketing):
        batches = [np.array(step[0]) for step in steps(1, bucketing=bucketing)]
        padded = sum(LENGTHS[batch].max() * len(batch) for batch in batches)
        return padded / LENGTHS.sum() - 1

    assert waste(False) > 0.5
    assert waste(True) < 0.1
    means = [LENGTHS[step[0]].mean() for step in steps(1)[:-1]]
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.4


def test_bucketing_sorts_within_mega_batches_only():
    order = GlobalOrder(np.arange(4000), 4, seed=1)
    plain = GlobalOrder(np.arange(4000), 4, seed=1, bucketing=False)
    rows = list(plain)
    mega = 4 * MEGA_BATCH
    expected = {
        tuple(sorted(rows[start : start + mega])[k : k + 4])
        for start in range(0, 4000, mega)
        for k in range(0, mega, 4)
    }
    assert {tuple(batch.tolist()) for batch in order.batches()} == expected


@pytest.mark.parametrize("stop", [0, 1, 30, 62, 63])
def test_a_pass_that_starts_later_gives_the_rest_of_that_epoch_and_no_other_one(stop):
    def sampler():
        return GlobalBatchSampler(GlobalOrder(LENGTHS, 16, seed=1), 0, 2)

    passes = {}
    for epoch in (3, 4):
        whole = sampler()
        whole.sampler.set_epoch(epoch)
        passes[epoch] = list(whole)
    late = sampler()
    late.start_at(3, stop)
    assert list(late) == passes[3][stop:] == list(late)
    assert len(late) == len(passes[3]), "the trainer counts on whole epochs"
    late.sampler.set_epoch(4)
    assert list(late) == passes[4]


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize(("size", "batch_size"), [(1003, 32), (5, 1), (4, 32), (33, 32), (64, 32), (129, 32)])
def test_evaluation_sees_every_row_once_with_as_many_batches_on_each_rank(world_size, size, batch_size):
    ranks = [list(FixedBatchSampler(LENGTHS[:size], batch_size, rank, world_size)) for rank in range(world_size)]
    assert sorted(row for rank in ranks for batch in rank for row in batch) == list(range(size))
    assert len({len(rank) for rank in ranks}) == 1
    assert all(1 <= len(batch) <= batch_size + 1 for rank in ranks for batch in rank)
    assert list(FixedBatchSampler(LENGTHS[:size], batch_size, 0, world_size)) == ranks[0]


def test_evaluation_on_more_ranks_than_rows_is_refused():
    with pytest.raises(UserError, match="3 rows for 4 devices"):
        FixedBatchSampler(LENGTHS[:3], 8, 0, 4)
