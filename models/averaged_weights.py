"""Training states of a run with Lightning's WeightAveraging: the average, and beside it the weights that train."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

TRAINED = "current_model_state"
"""Where Lightning (2.6.6) puts the weights that train; their average then stands in the place of the weights."""


def trained_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The weights that train, of a checkpoint with or without an average."""
    return checkpoint.get(TRAINED, checkpoint["state_dict"])


def keep_only(checkpoint: dict[str, Any], kept: Collection[str]) -> None:
    """Leave out of a checkpoint what the base has; of an average also keep what rounding has moved away from it."""
    weights, trained = checkpoint["state_dict"], trained_weights(checkpoint)
    checkpoint["state_dict"] = {name: x for name, x in weights.items() if name in kept or not same(x, trained[name])}
    if TRAINED in checkpoint:
        checkpoint[TRAINED] = {name: x for name, x in trained.items() if name in kept}


def same(one: Tensor, other: Tensor) -> bool:
    return one is other or torch.equal(one, other.to(one.device))


def complete(checkpoint: dict[str, Any], own: dict[str, Tensor]) -> None:
    """Put back what ``keep_only`` left out, since Lightning loads an average and what trains beside it whole."""
    if TRAINED in checkpoint:
        # The average is loaded into the module first, over the very tensors of ``own``.
        under = {name: own[name].clone() for name in checkpoint["state_dict"]}
        checkpoint[TRAINED] = own | under | checkpoint[TRAINED]
        checkpoint["state_dict"] = own | checkpoint["state_dict"]
