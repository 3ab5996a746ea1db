"""What a model holds beside the weights that train: what an adapter has made of the base, and running statistics."""

import hashlib
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..contracts.errors import UserError


class Loaded:
    """The tensors of a base, to tell from what an adapter puts beside them."""

    def __init__(self, backbone: nn.Module) -> None:
        self.known = {id(x): x for _, x in tensors(backbone)}

    def digest_of_made(self, model: nn.Module) -> str:
        """sha256 over every frozen tensor that is not the base's: decompositions, projections, indices. A weight that
        an adapter has rewritten in its place is left to the adapter's own state, or follows from the base."""
        content = hashlib.sha256()
        for name, x in tensors(model):
            if not x.requires_grad and id(x) not in self.known:
                content.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
                content.update(x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return content.hexdigest()


def tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(module.named_parameters(), module.named_buffers())


def running_statistics(module: nn.Module) -> set[str]:
    """Names of buffers that training moves without a gradient (batch norms)."""
    norms = ((name, part) for name, part in module.named_modules() if isinstance(part, _NormBase))
    return {f"{name}.{buffer}" for name, norm in norms for buffer, _ in norm.named_buffers()}


def require_start(stored: dict[str, Any], own: dict[str, Any], adapter: str) -> None:
    """Raises:
    UserError: a training state began at another start than this model's, on which its weights do not fit.
    """
    if stored["init_seed"] != own["init_seed"]:
        raise UserError(
            f"The training state began with the init seed {stored['init_seed']}, and this run has {own['init_seed']}: "
            "new weights would be anchored, projected and decomposed otherwise than in the run that it goes on with. "
            "Set model.seeds.init (seeds of the config.yaml) as it was, or begin a new run."
        )
    if stored["made"] != own["made"]:
        raise UserError(
            f"The training state does not fit here: {adapter} makes frozen tensors of the base when a run starts, and "
            "this machine makes other ones than the run began with (a decomposition depends on the CPU, the number of "
            "threads and the versions). Go on where the run began, with OMP_NUM_THREADS and the versions of its "
            "record.json, or begin a new run."
        )
