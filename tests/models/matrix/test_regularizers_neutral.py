"""At its neutral setting a method is the baseline: bit for bit as shipped, to rounding where its machinery runs."""

import functools

import pytest
import torch

from finelab.models.adapters import Full

from .regularizer_runs import Run, of, rows, run, tuner, without_dropout
from .regularizer_table import of_cases

every = of_cases()


def trained(module, task: str, dropout: bool = True) -> Run:
    module.configure_model()
    if not dropout:
        without_dropout(module)
    return run(module, rows(task, 2), accumulate=2, masks=True)


@functools.cache
def baseline(task: str, adapter, dropout: bool = True) -> Run:
    return trained(tuner(task, (), adapter()), task, dropout)


@every
def test_as_shipped_it_is_the_baseline_bit_for_bit(row, task):
    found, plain = trained(of(row, task, "neutral"), task), baseline(task, row.adapter)
    assert torch.equal(found.weights, plain.weights)
    assert all(torch.equal(*pair) for pair in zip(found.states, plain.states, strict=True))
    assert len(found.masks.visits) == len(plain.masks.visits)
    found.masks.require_first_masks_of(plain.masks)


@every
def test_with_the_short_cut_disabled_it_is_the_baseline_to_rounding(row, task):
    """A method that cannot be the baseline over two dropout masks is compared where there is one mask only."""
    dropout = "uncut" not in row.exceptions
    found = trained(of(row, task, "uncut"), task, dropout)
    assert (found.weights - baseline(task, row.adapter, dropout).weights).abs().max() < 1e-6


@every
@pytest.mark.parametrize("setting", ["uncut", "real"])
def test_its_first_forwards_have_the_masks_of_the_baseline(row, task, setting):
    """Whatever else the method runs or draws; a replayed forward has the masks of the first."""
    found, plain = trained(of(row, task, setting), task), baseline(task, row.adapter)
    assert plain.masks.visits[0][1] or (task, row.adapter) == ("lm", Full)
    found.masks.require_first_masks_of(plain.masks)


@every
def test_at_its_real_strength_it_acts(row, task):
    """Otherwise every comparison of this matrix would be empty."""
    found = trained(of(row, task), task)
    assert (found.weights - baseline(task, row.adapter).weights).abs().max() > 1e-6
