"""What an optimizer step needs around its gradients: whose they are, their scale, seeds and synchronisation."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from lightning.pytorch.strategies import ParallelStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from .regularizers.regularizer import replicated


def scale_gradients(parameters: Iterable[nn.Parameter], factor: float) -> None:
    for p in parameters:
        if p.grad is not None:
            p.grad.mul_(factor)


def total_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Of all gradients together; of sharded ones over all ranks."""
    return replicated(torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))


def add_gradient(p: nn.Parameter, gradient: Tensor) -> None:
    if isinstance(gradient, DTensor) and isinstance(p, DTensor):  # a penalty's may be laid out in another way
        gradient = gradient.redistribute(placements=p.placements)
    p.grad = gradient if p.grad is None else p.grad.add_(gradient)


def seed_forward(seed: int, device: torch.device) -> None:
    """``torch.manual_seed`` for the generators that a forward draws from; that one costs a millisecond a call."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def no_sync(strategy: Strategy) -> AbstractContextManager[None]:
    """Gradients of all but the window's last micro-batch stay on their rank."""
    return strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()


def trained(optimizer: Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside; every submodule's own mode is as before afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
