"""FSDP2 (``lightning.pytorch.strategies.ModelParallelStrategy``): weights, gradients and the optimizer's moments lie in
shards over the ranks, and each block of the backbone is put together for as long as it computes."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from ..contracts.errors import UserError
from .adapters.adapter import Adapter
from .regularizers.regularizer import Regularizer


def shard(model: nn.Module, adapted: nn.Module, mesh: DeviceMesh, ids: set[int]) -> set[int]:
    """Shards a model over the data-parallel ranks of the mesh; to be called before anything keeps its parameters, which
    are made anew.

    The blocks that transformers names as units are sharded one by one, then the rest of the backbone, then a head. All
    of them give their whole weights back after each forward: a backbone that kept them would hand penalties a whole
    weight to compare with an anchor that is a shard.

    Args:
        model: the trainable whole.
        adapted: the backbone in it.
        mesh: of the strategy.
        ids: of some parameters.

    Returns:
        the ids of the same parameters.
    """
    named = {name for name, p in model.named_parameters() if id(p) in ids}
    parts = (
        [adapted] if model is adapted else [part for part in model.children() if any(True for _ in part.parameters())]
    )
    for part in [*blocks(adapted), *parts]:
        fully_shard(part, mesh=mesh["data_parallel"], reshard_after_forward=True)
    return {id(p) for name, p in model.named_parameters() if name in named}


def blocks(adapted: nn.Module) -> list[nn.Module]:
    pretrained = next(part for part in adapted.modules() if isinstance(part, PreTrainedModel))
    units = set(pretrained._no_split_modules or ())
    return [part for part in adapted.modules() if type(part).__name__ in units]


def is_sharded(model: nn.Module | None) -> bool:
    return model is not None and any(isinstance(part, FSDPModule) for part in model.modules())


def require_built_here(model: nn.Module, mesh: DeviceMesh | None) -> None:
    """Raises:
    UserError: the model was built outside the strategy that is to shard it; its ranks would train apart.
    """
    if mesh is not None and not is_sharded(model):
        raise UserError(
            "trainer.strategy: ModelParallelStrategy shards a model while it is built, and this one was built before "
            "(configure_model was called). Pass a new module to the trainer."
        )


def require_shardable(trainer: Trainer, adapter: Adapter, regularizers: Sequence[Regularizer]) -> None:
    """Raises:
    UserError: the mesh also cuts single layers (tensor parallelism), something in the stack was not made for weights
        that lie in shards, or the run is to go on from a training state.
    """
    size = trainer.strategy.device_mesh["tensor_parallel"].size()  # pyright: ignore[reportAttributeAccessIssue]
    if size > 1:
        raise UserError(
            f"trainer.strategy: ModelParallelStrategy has tensor_parallel_size {size} (by default the number of "
            "devices), and finelab shards over data-parallel ranks only. Set trainer.strategy.init_args: "
            "{data_parallel_size: NUMBER_OF_DEVICES, tensor_parallel_size: 1}."
        )
    odd = [f"model.adapter: {type(adapter).__name__}"] if not adapter.shards else []
    odd += [f"model.regularizers: {type(method).__name__}" for method in regularizers if not method.shards]
    if odd:
        raise UserError(
            f"{odd[0]} reads or changes whole weights, and under ModelParallelStrategy they lie in shards. Set "
            "trainer.strategy: ddp, or train plain LoRA or Full with L2SP, KLToBase, RDrop or LabelSmoothing."
        )
    if trainer.ckpt_path is not None:
        raise UserError(
            f"{trainer.ckpt_path}: under ModelParallelStrategy no training state is written, and none can be gone on "
            "from: it would not be exact. Set trainer.strategy: ddp, or train the run again."
        )


def require_whole(model: nn.Module | None) -> None:
    """Raises:
    UserError: the model lies in shards; its ranks write answers of different lengths, and would wait for each other's
        weights for ever.
    """
    if is_sharded(model):
        raise UserError(
            "Text cannot be generated under ModelParallelStrategy. Remove GenerationMetrics from trainer.callbacks and "
            "run finelab test or predict on the finished run, or set trainer.strategy: ddp."
        )


@contextmanager
def whole(model: nn.Module, back: bool = False) -> Iterator[None]:
    """Inside, on every rank, what trains is there as plain tensors, to be saved or loaded; nothing may compute.

    Args:
        model: sharded or not.
        back: take over what was written into them; the first rank's counts.
    """
    places = [
        (part, name, p)
        for part in model.modules()
        for name, p in part.named_parameters(recurse=False)
        if p.requires_grad and isinstance(p, DTensor)
    ]
    full = [nn.Parameter(cast(DTensor, p.detach()).full_tensor()) for _, _, p in places]
    hooks = {part: part._load_state_dict_post_hooks for part, _, _ in places}  # FSDP2's, which expect shards
    for (part, name, _), p in zip(places, full, strict=True):
        part._parameters[name] = p
        part._load_state_dict_post_hooks = OrderedDict()
    try:
        yield
    finally:
        for part, own in hooks.items():
            part._load_state_dict_post_hooks = own
        for (part, name, p), own in zip(places, full, strict=True):
            part._parameters[name] = p
            if back:
                with torch.no_grad():
                    p.copy_(distribute_tensor(own.detach(), p.device_mesh, p.placements))


def taken(p: nn.Parameter) -> Tensor:
    """The value of a parameter, to be put back later. What is all-gathered is the shard's own memory, so that only
    writing into it changes what a sharded model computes."""
    return p.data.clone() if isinstance(p, DTensor) else p.data


def put(p: nn.Parameter, value: Tensor) -> None:
    if isinstance(p, DTensor):
        p.data.copy_(value)
    else:
        p.data = value
