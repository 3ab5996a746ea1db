"""With and without torch.compile: the same steps, and no perturbation that the compiler leaves out or freezes."""

import shutil

import pytest
import torch
from torch.utils.data import DataLoader

from finelab.models.backbone import Loading

from .regularizer_runs import rows, run, tuner, without_dropout
from .regularizer_table import BY_NAME, ON_LORA, ROWS, Row

pytestmark = pytest.mark.slow


def stacks() -> dict[str, list[Row]]:
    """Alone what touches the forward or asks for another one; the rest together, since a compilation takes seconds."""
    claiming = [row for row in ROWS if row.compiles]
    rest = [row for row in claiming if not row.in_forward and row.name in ON_LORA]
    return {row.name: [row] for row in claiming if row.in_forward} | {"+".join(row.name for row in rest): rest}


every = pytest.mark.parametrize(
    ("name", "stack"), stacks().items(), ids=lambda value: value if isinstance(value, str) else ""
)


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
def test_a_compiled_model_takes_the_same_steps_and_is_compiled_once(name, stack):
    """Traced by the compiler's front end, which is what may skip a hook or freeze a number; with dropout and noise."""
    task, compiler = stack[0].tasks[0], torch._dynamo.utils.counters["stats"]
    plain, compiled = (tuner(task, [row.real() for row in stack], stack[0].adapter()) for _ in range(2))
    compiled.configure_model()
    compiled.adapted.compile(backend="eager")
    found = run(compiled, batches(task, steps=3), accumulate=2)
    graphs = compiler["unique_graphs"]
    expected = run(plain, batches(task, steps=3), accumulate=2)
    assert graphs > 0
    assert (expected.weights - found.weights).abs().max() < 1e-6
    run(compiled, batches(task, steps=3), accumulate=2)
    assert compiler["unique_graphs"] == graphs
    batch = next(iter(batches(task)))
    with torch.no_grad():
        plain.load_trainable_state(compiled.trainable_state())
        assert torch.allclose(plain.eval()(batch).logits, compiled.eval()(batch).logits, atol=1e-6)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants a C++ compiler here")
def test_loading_compile_trains_as_without_it():
    """The default backend, as a user asks for it, under a stack that compiles."""
    found = []
    for on in (False, True):
        stack = [BY_NAME[name].real() for name in ("LabelSmoothing", "NEFTune", "L2SP")]
        module = tuner("class", stack, loading=Loading(compile=on))
        module.configure_model()
        without_dropout(module)  # whose masks the default backend draws in its own way
        found.append(run(module, batches("class")))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert (found[0].weights - found[1].weights).abs().max() < 1e-5
