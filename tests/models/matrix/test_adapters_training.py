"""What every adapter keeps with every task while it trains: the way back to the base, any split into micro-batches,
checkpointed activations, bfloat16."""

import torch
from torch import nn

from finelab.models.backbone import Loading

from .adapter_runs import built, module, rows, trained
from .adapter_table import ROWS, every
from .regularizer_runs import run, without_dropout


@every("base")
def test_the_base_is_found_again(row, kind):
    """``as_base`` after training is the base bit for bit, and leaves the tuned function as it was."""
    own = module(row, kind)
    own.configure_model()
    own.keep_start()
    run(own, rows(kind, 4))
    own.eval()
    plain = built(ROWS[0], kind)
    batch = next(iter(rows(kind, 8)))
    with torch.no_grad():
        tuned = own(batch).hidden
        with own.as_base():
            again = own(batch).hidden
        assert torch.equal(own(batch).hidden, tuned)
        expected = plain(batch).hidden
    assert (again - expected).abs().max() < 1e-5 * max(1.0, expected.abs().max().item())


@every("accumulation")
def test_one_micro_batch_of_eight_equals_eight_of_one(row, kind):
    found = []
    for micro, accumulate in ((8, 1), (1, 8)):
        own = module(row, kind)
        own.configure_model()
        without_dropout(own)
        found.append(run(own, rows(kind, micro), accumulate, epochs=2))
    for step in (0, 1):
        one, eight = (each.gradient(step) for each in found)
        assert (one - eight).norm() / one.norm() < 3e-6


@every("checkpointing")
def test_checkpointed_activations_change_nothing(row, kind):
    """With dropout on: what is drawn in the recomputation must be what was drawn in the forward."""
    runs = [run(module(row, kind, loading=Loading(gradient_checkpointing=on)), rows(kind, 4)) for on in (False, True)]
    assert [m for m in runs[1].module.modules() if getattr(m, "gradient_checkpointing", False)]
    assert (runs[0].weights - runs[1].weights).abs().max() < 1e-6


@every("bfloat16")
def test_it_runs_under_bfloat16_autocast(row, kind):
    found = run(module(row, kind), rows(kind, 4), precision="bf16-mixed")
    assert found.weights.isfinite().all()
    exact = trained(row, kind)
    assert nn.functional.cosine_similarity(found.gradient(), exact.gradient(), dim=0) > 0.98
