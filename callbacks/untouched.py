"""Doing anything with a module and its optimizers without leaving a trace in the run."""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import MethodType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.optim import Optimizer

from ..models.regularizers.regularizer import Perturbed

CLOSED = frozenset(
    {"torch", "lightning", "transformers", "tokenizers", "datasets", "torchmetrics", *sys.stdlib_module_names}
)
"""Packages into whose objects nobody looks, but for modules and optimizers: a trainer leads everywhere."""


@contextmanager
def untouched(module: LightningModule, optimizers: list[Optimizer]) -> Iterator[None]:
    """Afterwards these are bit for bit as before: trainable parameters, buffers, gradients (none), the optimizers'
    state and rates, every attribute of the module, its parts, its adapter and its methods, and every random generator.

    Costs a copy in main memory of what trains and of the methods' own tensors. Frozen parameters are not copied:
    nothing moves them. ``torch.compile`` is off inside, so that no shape of here is compiled for.
    """
    memory = Memory()
    memory.keep(module)
    for optimizer in optimizers:
        memory.keep_instance(optimizer)
    seed, stance = Perturbed.seed, torch.compiler.set_stance("force_eager")
    try:
        with isolate_rng(), stance:
            yield
    finally:
        module.zero_grad()
        memory.restore()
        Perturbed.seed = seed


class Memory:
    """What objects held when they were shown, found by walking from one to the next."""

    def __init__(self) -> None:
        self.seen: dict[int, Any] = {}
        self.tensors: list[tuple[Tensor, Tensor]] = []
        self.arrays: list[tuple[np.ndarray, np.ndarray]] = []
        self.generators: list[tuple[torch.Generator, Tensor]] = []
        self.tables: list[tuple[dict, dict]] = []
        self.lists: list[tuple[Any, list]] = []

    def keep(self, *values: Any) -> None:
        """Everything that can be reached from here."""
        waiting = list(values)
        while waiting:
            value = waiting.pop()
            if id(value) not in self.seen:
                self.seen[id(value)] = value
                waiting += self.opened(value)

    def keep_instance(self, value: object) -> None:
        """An object of whatever class."""
        self.keep(vars(value))

    def opened(self, value: Any) -> list[Any]:
        """Keeps one object; returns what it holds."""
        if isinstance(value, Tensor):
            self.keep_tensor(value)
        elif isinstance(value, np.ndarray):
            self.arrays.append((value, value.copy()))
        elif isinstance(value, torch.Generator):
            self.generators.append((value, value.get_state()))
        elif isinstance(value, dict):
            self.tables.append((value, dict(value)))
            return [*value.keys(), *value.values()]
        elif isinstance(value, list | set | deque):
            self.lists.append((value, list(value)))
            return list(value)
        elif isinstance(value, tuple | frozenset):
            return list(value)
        elif isinstance(value, MethodType):
            return [value.__self__]
        elif isinstance(value, partial):
            return [value.func, value.args, value.keywords]
        elif isinstance(value, nn.Module | Optimizer) or is_open(value):
            return [vars(value)]
        return []

    def keep_tensor(self, value: Tensor) -> None:
        frozen = isinstance(value, nn.Parameter) and not value.requires_grad
        if not frozen and value.grad_fn is None and not value.is_inference():
            self.tensors.append((value, value.detach().to("cpu", copy=True)))

    def restore(self) -> None:
        for table, content in self.tables:
            table.clear()
            table.update(content)
        for container, content in self.lists:
            container.clear()
            container.update(content) if isinstance(container, set) else container.extend(content)
        with torch.no_grad():
            for tensor, content in self.tensors:
                tensor.copy_(content)
        for array, content in self.arrays:
            array[...] = content
        for generator, state in self.generators:
            generator.set_state(state)


def is_open(value: object) -> bool:
    """Whether its attributes are looked at: an object of this package, of PEFT, or of the user's own code."""
    kind = type(value)
    return bool(kind.__dictoffset__) and not isinstance(value, type) and kind.__module__.partition(".")[0] not in CLOSED
