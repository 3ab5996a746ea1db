"""Two ranks of one run, as a launcher would start them."""

import os
import socket
from collections.abc import Callable

import torch

AS_RANKS = {"devices": 2, "strategy": "ddp"}
"""Of a trainer in such a rank."""


def in_two_ranks(act: Callable[[], object]) -> None:
    """Forked, so that nothing is imported again; raises what a rank raised."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(as_rank, (port, act), nprocs=2, start_method="fork")


def as_rank(number: int, port: int, act: Callable[[], object]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "NODE_RANK": "0"}
    os.environ |= {"LOCAL_RANK": str(number), "RANK": str(number)}
    act()
