"""Two gloo ranks take the steps of one process, with every method: noise and dropout counted over all micro-batches."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from . import two_ranks
from .regularizer_runs import rows, run, tuner

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    script = folder / "two_ranks_script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom tests.models.matrix.two_ranks import main\n"
        "if __name__ == '__main__':\n    main(sys.argv[1])\n"
    )
    done = subprocess.run(
        [sys.executable, script, folder], check=False, capture_output=True, text=True, timeout=300, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{number}.pt", weights_only=True) for number in (0, 1)]


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
