"""Digests of which rows trained which steps, against a plain sum, and where two of them part."""

import hashlib
import json
import random

import pytest

from finelab.contracts.order_trail import LONGEST, OrderTrail


def trail_of(rows, steps=range(10**9)):
    """Of step -> ids."""
    trail = OrderTrail()
    for step, ids in rows.items():
        if step in steps:
            trail.add(step, ids)
    return trail


def made_up(steps, seed=0):
    generator = random.Random(seed)
    return {step: [generator.randrange(10_000) for _ in range(4)] for step in range(steps)}


def by_hand(rows):
    total = 0
    for step, ids in rows.items():
        for own in ids:
            total += int.from_bytes(hashlib.blake2b(f"{step}:{own}".encode(), digest_size=8).digest(), "big")
    return f"{total % 2**64:016x}"


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (128, 1), (129, 2), (256, 2), (257, 4), (5000, 64)])
def test_the_digest_is_the_sum_over_all_rows_and_a_trail_stays_short(steps, every):
    trail = trail_of(made_up(steps))
    assert trail.digest == by_hand(made_up(steps))
    assert (trail.every == every and LONGEST // 2 < len(trail.sums) <= LONGEST) or steps == 1
    assert len(json.dumps(trail.as_dict())) < 3000
    assert OrderTrail.of(json.loads(json.dumps(trail.as_dict()))) == trail


def test_the_split_into_ranks_micro_batches_and_resumes_does_not_matter():
    rows = made_up(1000)
    whole = trail_of(rows)
    ranks = [trail_of({step: ids[rank::2] for step, ids in rows.items()}) for rank in range(2)]
    resumed = [trail_of(rows, range(300)), trail_of(rows, range(300, 1000))]
    for parts in (ranks, resumed, resumed[::-1]):
        merged = OrderTrail()
        for part in parts:
            merged.merge(part)
        assert merged == whole


@pytest.mark.parametrize(
    ("steps", "wrong", "told"), [(100, 0, (0, 1)), (100, 57, (57, 58)), (1000, 57, (56, 64)), (1000, 999, (992, 1000))]
)
def test_two_runs_that_part_are_told_where(steps, wrong, told):
    rows = made_up(steps)
    other = rows | {wrong: [*rows[wrong][:-1], 123_456]}
    assert trail_of(rows).parting(trail_of(other)) == range(*told) == trail_of(other).parting(trail_of(rows))
    assert trail_of(rows).parting(trail_of(rows)) is None
    assert trail_of(rows).digest != trail_of(other).digest


def test_two_steps_that_were_swapped_part():
    rows = made_up(20)
    assert trail_of(rows).parting(trail_of(rows | {7: rows[8], 8: rows[7]})) == range(7, 8)


def test_runs_of_other_lengths_part_where_one_ends():
    rows = made_up(1000)
    assert trail_of(rows).parting(trail_of(rows, range(100))) == range(96, 104)


@pytest.mark.parametrize(
    "plain", [{"z": [1]}, {"every": 3, "sums": []}, {"every": 1, "sums": [1]}, {"every": 1, "sums": ["x"]}], ids=str
)
def test_what_is_no_trail_is_refused(plain) -> None:
    with pytest.raises(ValueError):
        OrderTrail.of(plain)
