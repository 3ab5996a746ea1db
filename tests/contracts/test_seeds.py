"""Seeds are normalised in one place, and derived numbers depend on every part and on nothing else."""

import random

import pytest

from finelab.contracts.seeds import Seeds, derive


def test_one_integer_stands_for_three():
    assert Seeds.of(5) == Seeds(5, 5, 5) == Seeds.of({"data": 5, "init": 5, "train": 5})
    assert Seeds.of({"data": 2}) == Seeds(2, 1, 1)
    assert Seeds(1, 2, 3).as_dict() == {"data": 1, "init": 2, "train": 3}
    with pytest.raises(TypeError):
        Seeds.of({"dropout": 1})


def test_every_part_counts_and_parts_do_not_run_together():
    seen = {
        derive(*parts) for parts in [(1, 2), (2, 1), (12,), ("1", 2), (1, "2"), (1, 2, 0), ("a", "bc"), ("ab", "c")]
    }
    assert len(seen) == 8
    assert all(0 <= value < 2**63 for value in seen)


def test_deriving_draws_nothing():
    random.seed(0)
    state = random.getstate()
    assert derive("forward", 1) == derive("forward", 1)
    assert random.getstate() == state
