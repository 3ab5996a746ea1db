"""How far the weights of a model have moved from those of its base, block by block."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .adapters.structure import input_parameters, stacks
from .finetuner import FineTuner
from .losses import SUM_DTYPE
from .regularizers.regularizer import replicated

NEW = "new_"
"""What the name of a block of parameters begins with that the base has not."""

Squares = Callable[[], tuple[Tensor, Tensor]]


class BlockMovement(NamedTuple):
    """Frobenius norms over the weights of a block that can change.

    Args:
        update: |W - W_base|.
        base: |W_base|; None for parameters that the base has not, whose change is the one since their start.
    """

    update: float
    base: float | None

    @property
    def relative(self) -> float | None:
        """|W - W_base| / |W_base|; None where there is nothing to relate to."""
        return self.update / self.base if self.base else None


class WeightMovement:
    """Made before training; looks at the weights as they are whenever ``blocks`` is called.

    W is the effective weight: what the adapter would merge (``Adapter.changes``), the weight itself where it trains in
    place. Costs about one reading of the weights that can change, and, where a change is not the product of two factors
    (DoRA, IA3, OFT and all others but LoRA), a merge of one layer after the other.

    Args:
        tuner: before its first step, or with ``added``.
        added: ``added`` of the object that was made before training.

    Attributes:
        added: the start of the parameters that the base has not, on the CPU.
        lost: whether the base is gone, so that only these can be compared.
    """

    def __init__(self, tuner: FineTuner, added: Mapping[str, Tensor] | None = None) -> None:
        adapted, start = tuner.adapted, tuner.start or {}
        self.lost = tuner.adapter.base_is == "lost"
        changes = [] if self.lost else tuner.adapter.changes(adapted)
        self.parts = Blocks(adapted)
        self.changes: list[tuple[str, Squares]] = [(self.parts.of(one.name), one.squares) for one in changes]
        claimed = {id(p) for one in changes for p in one.parameters}
        own = {id(p) for p in adapted.parameters()}
        rest = {name: p for name, p in adapted.named_parameters() if p.requires_grad and id(p) not in claimed}
        self.changes += [(self.parts.of(name), in_place(p, start, name)) for name, p in rest.items() if name in start]
        new = (
            {} if self.lost else {(NEW + self.parts.of(name), name): p for name, p in rest.items() if name not in start}
        )
        assert tuner.model is not None
        heads = {name: p for name, p in tuner.model.named_parameters() if p.requires_grad and id(p) not in own}
        new |= {(f"{NEW}head", name): p for name, p in heads.items()}
        self.added = dict(added) if added is not None else {name: kept(p) for (_, name), p in new.items()}
        self.new = [(block, in_place(p, self.added, name)) for (block, name), p in new.items()]

    @torch.no_grad()
    def blocks(self) -> dict[str, BlockMovement]:
        """From the embeddings to the head, then what is new; the same on every rank."""
        pairs = [(block, *squares()) for block, squares in [*self.changes, *self.new]]
        if not pairs:
            return {}
        values = torch.stack([replicated(x).to(SUM_DTYPE) for _, *both in pairs for x in both]).reshape(-1, 2).tolist()
        sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for (block, *_), (update, base) in zip(pairs, values, strict=True):
            sums[block][0] += update
            sums[block][1] += base
        ordered = [name for prefix in ("", NEW) for part in self.parts.names if (name := prefix + part) in sums]
        return {name: movement_of(name, *sums[name]) for name in ordered}


def movement_of(block: str, update: float, base: float) -> BlockMovement:
    """From squares, of which the one of an update may be a rounding below zero."""
    return BlockMovement(math.sqrt(max(update, 0.0)), None if block.startswith(NEW) else math.sqrt(base))


def total(blocks: Mapping[str, BlockMovement]) -> BlockMovement | None:
    """Over all weights of the base that can change; None where there is none."""
    own = [block for block in blocks.values() if block.base is not None]
    if not own:
        return None
    base = math.hypot(*(block.base for block in own if block.base is not None))
    return BlockMovement(math.hypot(*(block.update for block in own)), base)


class Blocks:
    """What the parts of a model are called: ``embeddings``, ``layer_0`` and so on, ``head`` for what follows them.

    The layers of a model with two stacks are ``encoder_layer_0`` and ``decoder_layer_0``.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.before, found = model, input_parameters(model), stacks(model)
        self.lists = {stack: f"{stack.split('.')[-2]}_layer_" if len(found) > 1 else "layer_" for stack in found}
        layers = [f"{prefix}{i}" for stack, prefix in self.lists.items() for i in range(len(found[stack]))]
        self.names = ["embeddings", *layers, "head"]

    def of(self, name: str) -> str:
        """Of a parameter or a layer by its full name."""
        for stack, prefix in self.lists.items():
            if name.startswith(f"{stack}."):
                return prefix + name[len(stack) + 1 :].partition(".")[0]
        parameters = self.model.named_parameters(remove_duplicate=False)
        own = (p for full, p in parameters if full == name or full.startswith(f"{name}."))
        return "embeddings" if any(id(p) in self.before for p in own) else "head"


def in_place(p: nn.Parameter, start: Mapping[str, Tensor], name: str) -> Squares:
    """Of a parameter against its start, which is read when asked, since it moves to the device."""

    def squares() -> tuple[Tensor, Tensor]:
        base = start[name].to(p.device).float()
        moved = torch.linalg.vector_norm(p.detach().float() - base)
        return moved.square(), torch.linalg.vector_norm(base).square()

    return squares


def kept(p: nn.Parameter) -> Tensor:
    return p.detach().cpu().clone()
