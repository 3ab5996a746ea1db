"""With and without torch.compile: the same steps, and no perturbation that the compiler leaves out or freezes."""

import shutil

import pytest
import torch
from torch.utils.data import DataLoader

from finelab.models.backbone import Loading

from .regularizer_runs import rows, run, tuner
from .regularizer_table import ROWS

pytestmark = pytest.mark.slow
every = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def batches(task: str, steps: int = 2) -> DataLoader:
    """The same rows in another order each step: one shape, so that nothing is compiled twice for its sake."""
    batch = next(iter(rows(task, 4)))
    turned = [{key: value.roll(shift, 0) for key, value in batch.items()} for shift in range(2 * steps)]
    return DataLoader(turned, None)  # pyright: ignore[reportArgumentType]


@every
def test_a_compiled_model_takes_the_same_steps(row):
    """Traced by the compiler's front end, which is what may skip a hook or freeze a number; with dropout and noise."""
    if not row.compiles:
        pytest.skip(row.exceptions["compile"])
    task = row.tasks[0]
    plain, compiled = (tuner(task, [row.real()]) for _ in range(2))
    compiled.configure_model()
    compiled.adapted.compile(backend="eager")
    expected, found = (run(module, batches(task), accumulate=2) for module in (plain, compiled))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert (expected.weights - found.weights).abs().max() < 1e-6
    batch = next(iter(batches(task)))
    with torch.no_grad():
        assert torch.allclose(plain.eval()(batch).logits, compiled.eval()(batch).logits, atol=1e-6)


@every
def test_nothing_is_compiled_again_in_every_step(row):
    if not row.compiles:
        pytest.skip(row.exceptions["compile"])
    task = row.tasks[0]
    module, seen = tuner(task, [row.real()]), []
    module.configure_model()
    module.adapted.compile(backend="eager")
    for _ in range(2):
        run(module, batches(task, steps=3), accumulate=2)
        seen.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert seen[0] == seen[1]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants a C++ compiler here")
def test_loading_compile_trains_as_without_it():
    """The default backend, as a user asks for it, under a stack that compiles."""
    stack = [row for row in ROWS if row.name in ("LabelSmoothing", "RDrop", "L2SP", "NEFTune")]
    found = [
        run(tuner("class", [row.real() for row in stack], dropout=0.0, loading=Loading(compile=on)), batches("class"))
        for on in (False, True)
    ]
    assert (found[0].weights - found[1].weights).abs().max() < 1e-5
