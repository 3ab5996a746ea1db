"""Short runs of tiny models with an adapter on every kind of target."""

import functools

import torch
from torch import Tensor

from .. import made_up_targets
from .adapter_table import Row
from .regularizer_runs import SGD, Run, run


def module(row: Row, kind: str, **options):
    return made_up_targets.model(kind, SGD, row.make(), **options)


def built(row: Row, kind: str, **options):
    own = module(row, kind, **options)
    own.configure_model()
    return own.eval()


def rows(kind: str, micro: int, more: int = 0):
    return made_up_targets.loader(kind, micro, more=more)


@functools.lru_cache(maxsize=2)
def trained(row: Row, kind: str) -> Run:
    """Two steps, then a shake of every trained weight, since a tiny model's own steps would be hard to see; in eval
    mode. Shared by the checks that only look."""
    found = run(module(row, kind), rows(kind, 4))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for p in found.module.parameters():
            if p.requires_grad:
                p.data.add_(0.05 * torch.randn_like(p))
    found.module.eval()
    return found


def logits(own, kind: str, more: int = 0) -> Tensor:
    with torch.no_grad():
        return own.score(next(iter(rows(kind, 8, more)))).logits
