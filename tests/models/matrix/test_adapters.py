"""What every adapter keeps with every task: it trains, is quiet in evaluation, and is the same function when padded,
reloaded or merged."""

import re

import pytest
import torch

from finelab.contracts.errors import UserError
from finelab.models.exported import reloaded, write_exported

from .adapter_runs import built, logits, module, trained
from .adapter_table import ROWS, every


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


REFUSED = [pytest.param(row, kind, id=f"{row.name}-{kind}") for row in ROWS for kind in row.refused]


@pytest.mark.parametrize(("row", "kind"), REFUSED)
def test_what_cannot_work_is_refused(row, kind):
    with pytest.raises(UserError, match=row.refused[kind]) as refusal:
        module(row, kind).configure_model()
    assert "\n" not in str(refusal.value)
