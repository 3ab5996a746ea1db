"""The global random generators of one process, as plain values and tensors."""

import random
from typing import Any

import numpy as np
import torch


def random_states() -> dict[str, Any]:
    """Of every generator that code beside ours may draw from; ours are counted."""
    _, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": {"keys": torch.from_numpy(np.asarray(keys).astype(np.int64)), "rest": (position, has_gauss, gauss)},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    keys = states["numpy"]["keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, *states["numpy"]["rest"]))
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
