"""One rank of two: every method of the table trains on this rank's half of the rows.

The forwards are counted over the micro-batches of all ranks, so that one process with twice as many micro-batches draws
the same masks and noise.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import multiprocessing
from torch.utils.data import DataLoader

from finelab.contracts.batch import IGNORE
from finelab.contracts.seeds import derive
from finelab.models import objective
from finelab.models.finetuner import FineTuner

from .regularizer_runs import rows, run, tuner
from .regularizer_table import CASES, ON_LORA, Row

MICRO, TURNS = 2, 2
ROOT = Path(__file__).resolve().parents[3]


def count_over_ranks(turns: int) -> None:
    """Forward seeds that know a micro-batch by its place in the whole window, not by its rank."""

    def counted(what, *parts):
        if what == "forward":
            train, step, turn, rank, *further = parts
            return derive(what, train, step, rank * turns + turn, 0, *further)
        return derive(what, *parts)

    objective.derive = counted


class Case(NamedTuple):
    """One run of both ranks.

    Args:
        silent: the second rank's rows have no supervised token.
    """

    task: str
    methods: list[Row]
    silent: bool = False

    def tuner(self) -> FineTuner:
        return tuner(self.task, [row.real() for row in self.methods], self.methods[0].adapter())

    def rows(self, ranks: Sequence[int]) -> DataLoader:
        """Those of some ranks, one after the other."""
        whole = rows(self.task, MICRO)
        if self.silent:
            pairs = whole.dataset.rows
            pairs[MICRO * TURNS :] = [(x, torch.full_like(y, IGNORE), i) for x, y, i in pairs[MICRO * TURNS :]]
        mine = range(ranks[0] * MICRO * TURNS, (ranks[-1] + 1) * MICRO * TURNS)
        return DataLoader(whole.dataset, MICRO, sampler=mine, collate_fn=whole.collate_fn, generator=whole.generator)


def cases() -> dict[str, Case]:
    found = {f"{row.name}-{task}": Case(task, [row]) for row, task in CASES}
    whole = list(ON_LORA.values())
    return found | {"longest": Case("lm", whole), "longest-silent": Case("lm", whole, silent=True)}


def as_rank(number: int, port: int) -> None:
    """What a launcher would have set."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "NODE_RANK": "0"}
    os.environ |= {"LOCAL_RANK": str(number), "RANK": str(number)}
    count_over_ranks(TURNS)


def rank(number: int, port: int, folder: str) -> None:
    as_rank(number, port)
    weights, logged = {}, {}
    for name, case in cases().items():
        own = case.rows([number])
        found = run(case.tuner(), own, TURNS, epochs=2, devices=2, strategy="ddp", use_distributed_sampler=False)
        weights[name], logged[name] = found.weights, found.logged[-1]
    torch.save({"weights": weights, "logged": logged}, Path(folder) / f"{number}.pt")


def main(folder: str) -> None:
    main_of(rank, folder)


def main_of(rank: Callable[[int, int, str], None], folder: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(rank, (port, folder), nprocs=2)


def spawned(module: str, folder: Path) -> list[Any]:
    """What both ranks of a file beside this one have left in a folder."""
    script = folder / "two_ranks_script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom tests.models.matrix.{module} import main\n"
        "if __name__ == '__main__':\n    main(sys.argv[1])\n"
    )
    done = subprocess.run(
        [sys.executable, script, folder], check=False, capture_output=True, text=True, timeout=600, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{number}.pt", weights_only=True) for number in (0, 1)]
