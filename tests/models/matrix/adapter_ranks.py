"""One rank of two: every adapter trains on this rank's half of the rows, at its home task and LoRA at every task."""

from pathlib import Path

import torch
from torch.utils.data import DataLoader

from .adapter_runs import module, rows
from .adapter_table import KINDS, ROWS
from .regularizer_runs import run
from .two_ranks import MICRO, TURNS, as_rank, main_of

CASES = {
    f"{row.name}-{kind}": (row, kind)
    for row in ROWS
    for kind in KINDS
    if kind not in row.refused and (kind == row.home or row.name == "LoRA")
}


def half(kind: str, rank: int) -> DataLoader:
    whole = rows(kind, MICRO)
    mine = range(rank * MICRO * TURNS, (rank + 1) * MICRO * TURNS)
    return DataLoader(whole.dataset, MICRO, sampler=mine, collate_fn=whole.collate_fn, generator=whole.generator)


def rank(number: int, port: int, folder: str) -> None:
    as_rank(number, port)
    options = {"devices": 2, "strategy": "ddp", "use_distributed_sampler": False}
    found = {
        name: run(module(row, kind), half(kind, number), TURNS, epochs=2, **options).weights
        for name, (row, kind) in CASES.items()
    }
    torch.save(found, Path(folder) / f"{number}.pt")


def main(folder: str) -> None:
    main_of(rank, folder)
