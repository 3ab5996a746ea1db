"""Two gloo ranks take the steps of one process, with every method: noise and dropout counted over all micro-batches."""

import pytest
import torch

from . import two_ranks
from .regularizer_runs import rows, run, tuner

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return two_ranks.spawned("two_ranks", tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("case", two_ranks.cases())
def test_two_ranks_equal_one_process(ranks, case, monkeypatch):
    task, methods = two_ranks.cases()[case]
    one = run(
        tuner(task, [row.real() for row in methods], methods[0].adapter()),
        rows(task, two_ranks.MICRO),
        2 * two_ranks.TURNS,
        epochs=2,
    )
    assert torch.equal(ranks[0]["weights"][case], ranks[1]["weights"][case])
    assert (ranks[0]["weights"][case] - one.weights).abs().max() < 1e-6
    assert ranks[0]["logged"][case] == pytest.approx(one.logged[-1], rel=1e-5, abs=1e-6)
