"""What every adapter keeps with every task: it trains, is quiet in evaluation, and is the same function when reloaded,
merged, padded, split into micro-batches or checkpointed."""

import re

import pytest
import torch
from torch import nn

from finelab.contracts.errors import UserError
from finelab.models.backbone import Loading
from finelab.models.exported import reloaded, write_exported

from .adapter_runs import built, logits, module, rows, trained
from .adapter_table import ROWS, cases
from .regularizer_runs import run, without_dropout


def every(check):
    """In the table's order, so that the checks of one case share its training."""
    return pytest.mark.parametrize(("row", "kind"), list(cases(check)))


@every("gradient")
def test_every_trained_weight_gets_a_gradient_within_two_steps(row, kind):
    found = trained(row, kind)
    for name, p in found.module.named_parameters():
        if p.requires_grad:
            assert all(bool(step[name].isfinite().all()) for step in found.gradients if name in step), name
            moved = any(bool(step[name].any()) for step in found.gradients if name in step)
            assert moved != any(re.search(idle, name) for idle in row.idle), name


@every("eval")
def test_evaluation_is_quiet_and_draws_nothing(row, kind):
    own = trained(row, kind).module
    torch.manual_seed(1)
    first, state = logits(own, kind), torch.get_rng_state()
    own.train()
    logits(own, kind)
    own.eval()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), "a forward in evaluation has drawn"
    torch.manual_seed(2)
    assert torch.equal(logits(own, kind), first)


@every("pads")
def test_pads_change_nothing(row, kind):
    own = trained(row, kind).module
    tight, wide = logits(own, kind), logits(own, kind, more=17)
    assert (tight - wide).abs().max() < 2e-6 * max(1.0, tight.abs().max().item())


@every("reload")
def test_a_checkpoint_gives_equal_logits(row, kind, tmp_path):
    own = trained(row, kind).module
    own.save_folder(tmp_path)
    other = built(row, kind, seeds=9)
    assert (logits(other, kind) - logits(own, kind)).abs().max() > 0.01
    other.load_folder(tmp_path)
    assert torch.equal(logits(other, kind), logits(own, kind))


@every("merge")
def test_the_merged_model_is_the_same_function(row, kind, tmp_path):
    own = trained(row, kind).module
    own.save_folder(tmp_path / "run")
    (tmp_path / "plain").mkdir()
    other = built(row, kind)
    start = logits(other, kind)
    other.load_folder(tmp_path / "run")
    if not other.adapter.merges:
        with pytest.raises(UserError, match="merge"):
            other.adapter.merge(other.adapted)
        return
    write_exported(other, tmp_path / "plain", {})
    before, after = logits(own, kind), logits(reloaded(own, tmp_path / "plain"), kind)
    assert (before - start).abs().max() > 0.01
    assert (before - after).abs().max() < 5e-6 * max(1.0, before.abs().max().item())


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


REFUSED = [pytest.param(row, kind, id=f"{row.name}-{kind}") for row in ROWS for kind in row.refused]


@pytest.mark.parametrize(("row", "kind"), REFUSED)
def test_what_cannot_work_is_refused(row, kind):
    with pytest.raises(UserError, match=row.refused[kind]) as refusal:
        module(row, kind).configure_model()
    assert "\n" not in str(refusal.value)
