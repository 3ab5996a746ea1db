"""A few rows of a split that no order, batch size or number of ranks changes."""

import random

import torch

from finelab.callbacks.sampled_rows import batches_of, collated, sampled_rows
from finelab.contracts.batch import IGNORE

from .conftest import collate, made_up


def batches(rows, size):
    return [collate(rows[i : i + size]) for i in range(0, len(rows), size)]


class Strategy:
    def batch_to_device(self, batch):
        return batch


class Trainer:
    """As much of one as is asked for."""

    fast_dev_run, callbacks, strategy = 0, (), Strategy()

    def __init__(self, rank=0, ranks=1):
        self.global_rank, self.world_size = rank, ranks


def ids(rows):
    return [int(row["sample_id"]) for row in rows]


def test_the_draw_is_by_sample_id_alone() -> None:
    module, rows = torch.nn.Linear(1, 1), made_up("train", "text")
    one = sampled_rows(module, batches(rows, 4), 7, Trainer())
    shuffled = random.Random(0).sample(rows, len(rows))
    other = sampled_rows(module, batches(shuffled, 5), 7, Trainer())
    assert len(one) == 7 and ids(one) == ids(other) != sorted(ids(one))
    assert ids(sampled_rows(module, batches(rows, 4), 3, Trainer())) == ids(one)[:3]
    assert sorted(ids(sampled_rows(module, batches(rows, 4), 99, Trainer()))) == list(range(24))


def test_every_row_is_in_one_batch_of_one_rank() -> None:
    rows = sampled_rows(torch.nn.Linear(1, 1), batches(made_up("train", "text"), 4), 11, Trainer())
    for ranks in (1, 2, 3):
        per_rank = [batches_of(rows, 2, Trainer(rank, ranks)) for rank in range(ranks)]
        assert len({len(own) for own in per_rank}) == 1
        found = [int(i) for own in per_rank for batch in own for i in batch["sample_id"]]
        assert sorted(found) == sorted(ids(rows))
        assert all(len(batch["sample_id"]) <= 3 for own in per_rank for batch in own)
    assert batches_of(rows[:1], 2, Trainer(1, 2)) == []  # there is no row for this rank
    (alone,) = batches_of(rows[:1], 2, Trainer(0, 2))
    assert alone["sample_id"].tolist() == ids(rows)[:1]


def test_rows_of_different_widths_are_padded_as_the_contract_says() -> None:
    rows = [
        {"input_ids": torch.ones(2, 3).long(), "labels": torch.tensor([1, 2]), "sample_id": torch.tensor(4)},
        {"input_ids": torch.ones(3, 2).long(), "labels": torch.tensor([1, 2, 3]), "sample_id": torch.tensor(5)},
    ]
    batch = collated(rows)
    assert batch["input_ids"].tolist() == [
        [[1, 1, 1], [1, 1, 1], [0, 0, 0]],
        [[1, 1, 0], [1, 1, 0], [1, 1, 0]],
    ]
    assert batch["labels"].tolist() == [[1, 2, IGNORE], [1, 2, 3]] and batch["sample_id"].tolist() == [4, 5]
