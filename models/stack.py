"""A stack of regularizers: their names, whether they go together, and what a step hands to them."""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from typing import NamedTuple

import torch

from ..contracts.errors import UserError
from ..contracts.seeds import derive
from .adapters.adapter import Adapter
from .regularizers.regularizer import Regularizer

PATIENCE = 50
"""Steps after which a term that was exactly zero all along is reported."""


class Named(NamedTuple):
    """A method and the name it is logged under."""

    name: str
    method: Regularizer


@dataclass(frozen=True)
class StepReplay:
    """Computes one optimizer step's gradient again, and counts the random numbers of its methods.

    Args:
        run: recomputes the gradients; returns the mean objective.
        seed: of (train seed, optimizer step), alike on every rank.
        objective: of the window where its gradient was last computed.
    """

    run: Callable[[], float]
    seed: int
    objective: float

    def __call__(self) -> float:
        return self.run()

    def generator(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        return torch.Generator(device).manual_seed(derive(name, self.seed))


@dataclass
class SilentTerms:
    """Warns once of a term that has been exactly zero from the start.

    Args:
        zeros: by name, steps so far; a term that has been anything else is not among them any more.
    """

    zeros: dict[str, int] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)

    def watch(self, shown: Mapping[str, float]) -> None:
        for name, value in shown.items():
            if name in self.heard:
                continue
            self.zeros[name] = self.zeros.get(name, 0) + 1
            if value != 0.0:
                self.heard.add(name)
            elif self.zeros[name] == PATIENCE:
                self.heard.add(name)
                warnings.warn(
                    f"reg/{name} has been exactly 0 in each of the first {PATIENCE} steps: this method has not acted "
                    "on the model so far. Its docstring says when it does nothing.",
                    stacklevel=2,
                )


def overrides(method: Regularizer, hook: str) -> bool:
    return getattr(type(method), hook) is not getattr(Regularizer, hook)


def named_stack(methods: list[Regularizer]) -> list[Named]:
    """Methods in their order, with names.

    Raises:
        UserError: two of them cannot be combined.
    """
    for one, other in permutations(methods, 2):
        if reason := one.conflict(other):
            raise UserError(
                f"model.regularizers: {type(one).__name__} and {type(other).__name__} cannot be combined: {reason}"
            )
    return [Named(*pair) for pair in zip(unique_names(methods), methods, strict=True)]


def unique_names(regularizers: list[Regularizer]) -> list[str]:
    """Class names, numbered from the second of a kind on: RDrop, L2SP, L2SP_2."""
    names: list[str] = []
    seen = Counter[str]()
    for regularizer in regularizers:
        name = type(regularizer).__name__
        seen[name] += 1
        names.append(f"{name}_{seen[name]}" if seen[name] > 1 else name)
    return names


def require_unscaled(replayers: list[Named]) -> None:
    """Raises:
    UserError: a method computes gradients again, which would not have the scale of float16 loss scaling.
    """
    for name, _ in replayers:
        raise UserError(
            f"model.regularizers: {name} computes a step's gradient a second time, which float16 loss scaling does "
            "not allow. Use trainer.precision: bf16-mixed or 32-true."
        )


def require_base(methods: list[Regularizer], adapter: Adapter) -> None:
    """Raises:
    UserError: a method asks for the base's function and the adapter has lost it.
    """
    if adapter.base_is != "lost":
        return
    asking = next(type(method).__name__ for method in methods if method.reads_base)
    raise UserError(
        f"model.regularizers: {asking} compares with the base, and {type(adapter).__name__} with this configuration "
        "has rewritten the base's weights for good. Choose another init of the adapter, or remove the method."
    )
