"""What to lower, by the keys and values of the configuration."""

import pytest
import torch

from finelab.callbacks.out_of_memory import advice, evaluation_keys, is_out_of_memory, training_keys

CONFIG = {
    "data": {"init_args": {"batch_size": 8, "context": 128, "loader": {"evaluation_batch_size": None}}},
    "model": {"init_args": {"loading": {"gradient_checkpointing": False}}},
    "trainer": {"accumulate_grad_batches": 3, "precision": "32-true"},
}


def test_the_present_values_are_named():
    said = training_keys(CONFIG)
    assert "data.init_args.batch_size from 8 to 4 with trainer.accumulate_grad_batches 6" in said
    assert "data.init_args.context (now 128)" in said and "gradient_checkpointing: true" in said
    assert "data.init_args.loader.evaluation_batch_size (now 16)" in evaluation_keys(CONFIG)
    assert advice([], {}).startswith("Out of memory in this run. Lower data.init_args.batch_size with trainer.")


def test_one_row_cannot_be_halved():
    one = CONFIG | {"data": {"init_args": {"batch_size": 1, "context": 64}}}
    assert training_keys(one).startswith("data.init_args.context (now 64)")


def test_a_real_allocation_that_is_refused():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 50)
    assert is_out_of_memory(refused.value) and not is_out_of_memory(RuntimeError("shapes do not match"))
