"""How text is generated. Legend: B rows, V vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from ..contracts.errors import UserError
from ..contracts.seeds import derive


@dataclass(frozen=True)
class Generation:
    """Greedy decoding unless a temperature is given.

    A draw depends on the seed, the row's ``sample_id`` and the position alone: not on the batch, nor on any other draw.

    Args:
        max_new_tokens: budget of a row; the base's context may leave less.
        temperature: 0 is greedy; 1 samples from the model's own distribution.
        top_p: of the distribution, sample from the likeliest tokens that make up this share (Holtzman et al.,
            arXiv:1904.09751).
        top_k: sample from so many of the likeliest tokens; 0 for all.
        beams: beam search over so many hypotheses; without sampling only.
        seed: of the draws.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    beams: int = 1
    seed: int = 1

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.beams < 1 or self.temperature < 0 or self.top_k < 0:
            raise UserError(f"model.generation: {self}; counts start at 1, a temperature and top_k at 0.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"model.generation: top_p is {self.top_p}; a share above 0 and up to 1.")
        if self.beams > 1 and self.temperature:
            raise UserError(f"model.generation: {self.beams} beams and temperature {self.temperature}; choose one.")

    @property
    def samples(self) -> bool:
        return self.temperature > 0

    def warpers(self) -> list[LogitsProcessor]:
        found: list[LogitsProcessor] = [TemperatureLogitsWarper(self.temperature)]
        if self.top_k:
            found.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1:
            found.append(TopPLogitsWarper(self.top_p))
        return found


@dataclass(frozen=True)
class Generated:
    """A row's continuation.

    Args:
        ids: new tokens, without the one that ended them.
        ended: whether the model ended it; otherwise the budget did.
        nll: nats of these tokens together under the model's own distribution, whatever they were chosen with; None of
            beams, which are not followed.
    """

    ids: list[int]
    ended: bool
    nll: float | None = field(default=None, compare=False)

    @classmethod
    def of(
        cls, ids: Sequence[int], stops: Sequence[int], budget: int, nll: Sequence[float] | None = None
    ) -> "Generated":
        """The first ``budget`` of some tokens, up to the first that stops; ``nll`` has one entry a token."""
        own = list(ids[:budget])
        end = next((i for i, token in enumerate(own) if token in stops), None)
        kept = own if end is None else own[:end]
        return cls(kept, end is not None, None if nll is None else sum(nll[: len(kept)]))


class CountedSampling(LogitsProcessor):
    """Adds Gumbel noise, so that the largest score is a draw from the distribution (Maddison et al., arXiv:1411.0030).

    Args:
        generation: temperature, cuts and seed.
        rows: [B] the sample id of every row.
    """

    def __init__(self, generation: Generation, rows: Sequence[int]) -> None:
        self.generation, self.rows, self.turn = generation, rows, 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        for warp in self.generation.warpers():
            scores = warp(input_ids, scores)  # pyright: ignore[reportArgumentType]
        noise = [gumbel(scores.shape[-1], derive("generate", self.generation.seed, r, self.turn)) for r in self.rows]
        self.turn += 1
        return scores + torch.stack(noise).to(scores.device)


class CountedNLL(LogitsProcessor):
    """Keeps the nats of each token that is chosen, which is the one with the largest score; no scores outlive a step.

    Args:
        sampling: changes the scores before the choice; None is greedy.
    """

    def __init__(self, sampling: CountedSampling | None) -> None:
        self.sampling = sampling
        self.steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        changed = scores if self.sampling is None else self.sampling(input_ids, scores)
        chosen = changed.argmax(-1, keepdim=True)
        self.steps.append(scores.logsumexp(-1) - scores.gather(-1, chosen).squeeze(-1))
        return changed

    def by_row(self) -> list[list[float]]:
        """Nats per row and step, of the steps after a row's end too."""
        return torch.stack(self.steps, 1).tolist()


def gumbel(size: int, seed: int) -> Tensor:
    """[V] float32, drawn on the CPU so that every device gets the same."""
    uniform = torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return -(-(uniform.clamp_min(1e-300).log())).log().float()


def padded_left(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask [B, T], the pads before each row's own tokens."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def padded_right(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask [B, T], the pads behind each row's own tokens."""
    width = max(map(len, rows))
    ids = torch.tensor([list(row) + [pad] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask
