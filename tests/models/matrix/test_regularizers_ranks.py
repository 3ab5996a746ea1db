"""Two gloo ranks take the steps of one process, with every method: noise and dropout counted over all micro-batches."""

import pytest
import torch

from . import two_ranks
from .regularizer_runs import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return two_ranks.spawned("two_ranks", tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", two_ranks.cases())
def test_two_ranks_equal_one_process(ranks, name):
    case = two_ranks.cases()[name]
    one = run(case.tuner(), case.rows([0, 1]), 2 * two_ranks.TURNS, epochs=2)
    assert torch.equal(ranks[0]["weights"][name], ranks[1]["weights"][name])
    assert (ranks[0]["weights"][name] - one.weights).abs().max() < 1e-6
    assert ranks[0]["logged"][name] == pytest.approx(one.logged[-1], rel=1e-5, abs=2e-6)
