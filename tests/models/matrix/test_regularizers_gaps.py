"""What a first sketch of the protocol got wrong, held against the real methods, and the longest stack of them.

The rest of its gaps: replays, moments, counted draws and token terms in tests/models/test_objective.py; FreeLB beside
SAM in both orders, against a plain loop, in tests/models/regularizers/test_freelb.py.
"""

import math

import pytest
import torch
from torch.utils.data import DataLoader

from finelab.contracts.batch import IGNORE
from finelab.models.backbone import Loading
from finelab.models.regularizers import L2SP, SAM, FreeLB, KLToBase, RDrop
from finelab.models.regularizers.regularizer import Regularizer

from ..conftest import collate
from .regularizer_runs import of, rows, run, tuner, without_dropout
from .regularizer_table import ON_LORA, ROWS

decoders = pytest.mark.parametrize("row", [row for row in ROWS if "lm" in row.tasks], ids=lambda row: row.name)


def batches(*halves: bool) -> DataLoader:
    """Batches of four rows, the same four in each; where False, without a supervised token."""
    found = []
    for supervised in halves:
        for ids, labels, number in rows("lm", 4).dataset.rows[:4]:
            found.append((ids, labels if supervised else torch.full_like(labels, IGNORE), number))
    return DataLoader(found, 4, collate_fn=collate)  # pyright: ignore[reportArgumentType]


@decoders
def test_a_step_without_supervised_tokens_moves_nothing(row):
    if "unsupervised" in row.exceptions:
        pytest.skip(row.exceptions["unsupervised"])
    module = of(row, "lm")
    module.configure_model()
    start = module.trainable_state()
    found = run(module, batches(False, False, False, False), accumulate=2)
    assert module.skipped_steps == 2
    assert all(torch.equal(value, start[name]) for name, value in found.module.trainable_state().items())


def test_freelb_forgets_what_a_step_without_tokens_embedded():
    method = FreeLB()
    run(tuner("lm", [method]), batches(False, False))
    assert not method.deltas


@decoders
def test_a_micro_batch_without_supervised_tokens_adds_nothing(row):
    alone, beside = (run(of(row, "lm"), batches(*halves), len(halves)) for halves in ([True], [True, False]))
    assert (alone.gradient() - beside.gradient()).norm() <= 2e-6 * alone.gradient().norm()
    assert alone.logged[-1] == pytest.approx(beside.logged[-1], rel=1e-5, abs=2e-6)


@pytest.mark.parametrize("shaper", [lambda: SAM(0.5), lambda: FreeLB(init=0.0)], ids=["SAM", "FreeLB"])
def test_a_log_during_a_replay_does_not_overwrite_the_steps_value(shaper):
    """At the first step the pass before any ascent is that of the run without the method."""
    plain, shaped = (
        run(tuner("lm", [RDrop(1.0), L2SP(0.3), *more]), rows("lm", 4), accumulate=2) for more in ([], [shaper()])
    )
    names = ["train/nll", "train/loss", "reg/RDrop", "reg/L2SP"]
    assert [shaped.logged[-1][name] for name in names] == [plain.logged[-1][name] for name in names]
    assert shaped.logged[-1]["grad/norm"] != plain.logged[-1]["grad/norm"]
    assert shaped.module.supervised_tokens == plain.module.supervised_tokens


@pytest.mark.parametrize("order", [1, -1])
def test_freelb_leaves_a_reference_forward_alone(order):
    """The base that KLToBase sees in every pass is the untouched base."""
    seen = []

    class Watching(Regularizer):
        reads_base = True

        def token_term(self, step):
            seen.append(step.reference().logits)

    batch = next(iter(rows("lm", 8)))
    stack = [KLToBase(0.5), Watching(), FreeLB(steps=3), SAM(0.05)][::order]
    found = run(tuner("lm", stack), rows("lm", 8), epochs=2)
    untouched = tuner("lm")
    untouched.configure_model()
    with torch.no_grad():
        expected = untouched.eval()(batch).logits
    assert len(seen) == 2 * 2 * 3  # steps, SAM's points, FreeLB's passes
    assert all(torch.equal(logits, expected) for logits in seen)
    assert found.weights.isfinite().all()


def longest(setting: str) -> list[Regularizer]:
    return [made() for row in ON_LORA.values() if (made := getattr(row, setting))]


def test_the_longest_stack_trains_on_checkpointed_activations_as_without():
    found = [
        run(tuner("lm", longest("real"), loading=Loading(gradient_checkpointing=on)), rows("lm", 2), accumulate=2)
        for on in (False, True)
    ]
    assert (found[0].weights - found[1].weights).abs().max() < 1e-7
    assert {f"reg/{row.kind}" for row in ON_LORA.values() if row.logged} <= set(found[0].logged[-1])


def test_the_longest_stack_that_draws_nothing_does_not_depend_on_the_split():
    found = []
    for micro, accumulate in ((8, 1), (1, 8)):
        module = tuner("lm", longest("quiet"))
        module.configure_model()
        without_dropout(module)
        found.append(run(module, rows("lm", micro), accumulate, epochs=2))
    for step in (0, 1):
        one, eight = (each.gradient(step) for each in found)
        assert (one - eight).norm() / one.norm() < 3e-6


def test_the_longest_stack_runs_under_bfloat16_autocast():
    found = run(tuner("lm", longest("real")), rows("lm", 4), precision="bf16-mixed")
    assert found.weights.isfinite().all()
    assert all(math.isfinite(value) for logged in found.logged for value in logged.values())
