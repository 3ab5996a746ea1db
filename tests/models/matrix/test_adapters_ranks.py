"""Two gloo ranks take the steps of one process, with every adapter: dropout counted over all micro-batches."""

import pytest
import torch

from . import adapter_ranks, two_ranks
from .adapter_runs import module, rows
from .regularizer_runs import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return two_ranks.spawned("adapter_ranks", tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("case", adapter_ranks.CASES)
def test_two_ranks_equal_one_process(ranks, case):
    row, kind = adapter_ranks.CASES[case]
    one = run(module(row, kind), rows(kind, two_ranks.MICRO), 2 * two_ranks.TURNS, epochs=2)
    assert torch.equal(ranks[0][case], ranks[1][case])
    assert (ranks[0][case] - one.weights).abs().max() < 1e-6
