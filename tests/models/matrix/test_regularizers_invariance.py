"""What no method may depend on: pads, the split into micro-batches, checkpointed activations; and evaluation mode."""

import math

import pytest
import torch
from torch import nn

from finelab.models.backbone import Loading

from .regularizer_runs import of, rows, run, tuner, without_dropout
from .regularizer_table import of_cases

every = of_cases()
quiet = of_cases(lambda row: row.quiet is not None)


@every
def test_it_has_no_effect_in_evaluation_mode(row, task):
    """After two steps, when every perturbation has been active and the weights have left the start."""
    found = run(of(row, task), rows(task, 4)).module.eval()
    plain = tuner(task, (), row.adapter())
    plain.configure_model()
    plain.load_trainable_state(found.trainable_state())
    batch = next(iter(rows(task, 8)))
    with torch.no_grad():
        assert torch.equal(found(batch).logits, plain.eval()(batch).logits)
    assert torch.equal(found(batch).logits, plain(batch).logits)


@every
def test_pads_change_nothing(row, task):
    """Only the head's dropout is left where there is a head, since any other mask has the shape of the padded batch."""
    if row.needs_dropout and task == "lm":
        pytest.skip("without a head every dropout mask has the shape of the padded batch")
    found = []
    for more in (0, 9):
        module = of(row, task)
        module.configure_model()
        without_dropout(module)
        if task == "class":
            module.head.dropout.p = 0.1
        found.append(run(module, rows(task, 4, more)))
    for step in (0, 1):
        tight, wide = (each.gradient(step) for each in found)
        assert (tight - wide).norm() / tight.norm() < 2e-6
    assert found[0].logged[-1] == pytest.approx(found[1].logged[-1], rel=2e-6, abs=2e-6)


@quiet
def test_one_micro_batch_of_eight_equals_eight_of_one(row, task):
    """For the methods that draw nothing, in a model that draws nothing; over two steps."""
    found = []
    for micro, accumulate in ((8, 1), (1, 8)):
        module = of(row, task, "quiet")
        module.configure_model()
        without_dropout(module)
        found.append(run(module, rows(task, micro), accumulate, epochs=2))
    for step in (0, 1):
        one, eight = (each.gradient(step) for each in found)
        assert (one - eight).norm() / one.norm() < 2e-6
    whole, parts = (each.logged[-1] for each in found)
    assert whole == pytest.approx(parts, rel=2e-6, abs=2e-6)


@every
def test_every_trainable_weight_gets_a_gradient_within_two_steps(row, task):
    found = run(of(row, task), rows(task, 4))
    for name, p in found.module.named_parameters():
        if p.requires_grad:
            assert "gradient" in row.exceptions or any(bool(step[name].any()) for step in found.gradients), name
            assert all(bool(step[name].isfinite().all()) for step in found.gradients), name


@every
def test_checkpointed_activations_change_nothing(row, task):
    """With dropout on: what is drawn in the recomputation must be what was drawn in the forward."""
    found = [
        run(of(row, task, loading=Loading(gradient_checkpointing=on)), rows(task, 2), accumulate=2)
        for on in (False, True)
    ]
    checkpointed = [m for m in found[1].module.modules() if getattr(m, "gradient_checkpointing", False)]
    assert checkpointed
    assert (found[0].weights - found[1].weights).abs().max() < 1e-7
    assert found[0].logged[-1] == pytest.approx(found[1].logged[-1], rel=1e-6, abs=1e-8)


@every
def test_it_runs_under_bfloat16_autocast(row, task):
    found = run(of(row, task), rows(task, 4), precision="bf16-mixed")
    assert found.weights.isfinite().all()
    assert all(math.isfinite(value) for logged in found.logged for value in logged.values())
    exact = run(of(row, task), rows(task, 4))
    assert nn.functional.cosine_similarity(found.gradient(), exact.gradient(), dim=0) > 0.99
